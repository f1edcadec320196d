"""EngineConfig: how a stream is encoded and how questions look back on it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from encoders import Recommended
from vstream.errors import SettingsError


class EngineConfig(BaseModel):
    """Unset values are the model's own recommendation (`encoders.Recommended`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_frames: int | None = Field(
        None, ge=0, description="Local window of the prefill, in frames; 0: everything before."
    )
    window_stride: int | None = Field(
        None, ge=1, description="The window's left edge moves in steps of this many frames."
    )
    chunk_frames: int = Field(
        8, ge=1, description="Most frames in one call of the decoder while ingesting."
    )
    recent_frames: int | None = Field(
        None, ge=0, description="Newest frames that every question sees, in frames."
    )
    retrieve_blocks: int | None = Field(
        None, ge=0, description="Older blocks that a question retrieves, per layer."
    )
    similarity: Literal["inner_product", "cosine"] | None = Field(
        None, description="Score of a block: mean query times representative key."
    )
    retrieval: Literal["per_layer", "global", "two_pass"] = Field(
        "per_layer",
        description="Each layer retrieves its own blocks; or all layers the same; or per layer by "
        "a first pass of the bare question (ReKV).",
    )
    retrieve_runs_of: int = Field(
        1, ge=1, description="Blocks are retrieved in runs of this many neighbours."
    )
    drop_similarity: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop a visual token more like (cosine) the one last kept at its place, before "
        "the decoder; one block in every recent window stays whole. Unset or 1: keep all.",
    )
    rekv_window_tokens: int | None = Field(
        None,
        ge=1,
        description="Follow ReKV's own attention rules with a window of this many tokens; "
        "implies two_pass and no recent window.",
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
    max_answer_tokens: int = Field(128, ge=1, description="An answer is cut off at this length.")


class EngineSettings(BaseModel):
    """EngineConfig with every value decided; counts are in blocks."""

    model_config = ConfigDict(frozen=True)

    window_blocks: int
    stride_blocks: int
    chunk_blocks: int
    recent_blocks: int
    retrieve_blocks: int
    similarity: Literal["inner_product", "cosine"]
    retrieval: Literal["per_layer", "global", "two_pass"]
    retrieve_runs_of: int
    drop_similarity: float | None
    rekv_window_tokens: int | None
    follow_times: bool
    max_answer_tokens: int


def decide(config: EngineConfig, model: Recommended, frames_per_block: int) -> EngineSettings:
    """Fill what is open in `config` from the model's recommendation and count in blocks.

    Raises SettingsError for settings at odds, or under which an answer would see nothing.
    """

    def chosen(name: str) -> int:
        value = getattr(config, name)
        return int(getattr(model, name) if value is None else value)

    def blocks(frames: int) -> int:
        return -(-frames // frames_per_block)

    rekv = config.rekv_window_tokens is not None
    window = blocks(chosen("window_frames"))
    stride = min(blocks(chosen("window_stride")), window) if window else 1
    _refuse_empty_contexts(config, rekv, chosen("recent_frames"), chosen("retrieve_blocks"))
    if rekv and config.drop_similarity is not None:
        raise SettingsError(
            "drop_similarity: ReKV's rules are for blocks of one length; unset rekv_window_tokens"
        )
    return EngineSettings(
        window_blocks=window,
        stride_blocks=stride,
        chunk_blocks=blocks(config.chunk_frames),
        recent_blocks=0 if rekv else blocks(chosen("recent_frames")),
        retrieve_blocks=chosen("retrieve_blocks"),
        similarity=config.similarity or model.similarity,
        retrieval="two_pass" if rekv else config.retrieval,
        retrieve_runs_of=config.retrieve_runs_of,
        drop_similarity=config.drop_similarity,
        rekv_window_tokens=config.rekv_window_tokens,
        follow_times=config.follow_times and not rekv,
        max_answer_tokens=config.max_answer_tokens,
    )


def _refuse_empty_contexts(config: EngineConfig, rekv: bool, recent: int, retrieve: int) -> None:
    if retrieve == 0 and (recent == 0 or rekv):
        raise SettingsError("recent_frames and retrieve_blocks: a question must see something")
    if retrieve and config.retrieve_runs_of > retrieve:
        raise SettingsError(
            f"retrieve_runs_of: runs of {config.retrieve_runs_of} do not fit into "
            f"retrieve_blocks = {retrieve}"
        )
    if config.retrieval == "global" and config.retrieve_runs_of > 1:
        raise SettingsError("retrieve_runs_of: runs are for retrieval by layer, not for global")
