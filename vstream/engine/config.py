"""EngineConfig: how the engine works for every memory policy."""

from pydantic import BaseModel, ConfigDict, Field


class EngineConfig(BaseModel):
    """What a stream's blocks are and what a question reads of them, its memory policy says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_frames: int = Field(
        8, ge=1, description="Most frames in one call of the decoder while ingesting."
    )
    search_layers: tuple[int, ...] | None = Field(
        None,
        description="Layers whose representative keys a search over the past compares, as [0,4]; "
        "unset: the first and the middle one.",
    )
    follow_times: bool = Field(
        True,
        description="A question that names a moment or a stretch of the stream, as `at 12:30` or "
        "`in the last ten minutes`, sees that alone.",
    )
    plan_times: bool = Field(
        True,
        description="A question about time, as when, how often or how long something was so, is "
        "answered from the spans in which it is found, not in the model's words.",
    )
    plan_milliseconds: int | None = Field(
        5000, ge=0, description="So long is looked for them at most; unset: as long as it takes."
    )
    max_answer_tokens: int = Field(128, ge=1, description="An answer is cut off at this length.")
