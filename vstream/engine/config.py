"""EngineConfig: engine settings that hold for every memory policy."""

from pydantic import BaseModel, ConfigDict, Field


class EngineConfig(BaseModel):
    """A memory policy decides what a stream keeps and what a question reads; the rest is here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_frames: int = Field(
        8, ge=1, description="Most frames that ingestion puts through the decoder at a time."
    )
    search_layers: tuple[int, ...] | None = Field(
        None,
        description="Layers whose representative keys a search compares, e.g. [0,4]; unset: the "
        "first and the middle one.",
    )
    follow_times: bool = Field(
        True,
        description="Show a question that names a moment or a stretch, e.g. `at 12:30` or `in the "
        "last ten minutes`, only that part of the stream.",
    )
    plan_times: bool = Field(
        True,
        description="Answer questions about time (when, how often, how long) from the spans that a "
        "search finds; false: let the model answer.",
    )
    plan_milliseconds: int | None = Field(
        5000, ge=0, description="Longest search for those spans; unset: no limit."
    )
    max_answer_tokens: int = Field(128, ge=1, description="Longest answer, in tokens.")
