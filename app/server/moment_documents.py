"""Moment documents: what /v1/moments tells of the spans in which a statement is so."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FoundSpanDocument(BaseModel):
    """A stretch in which it is so. `at` is when it is most probable, and `frame_url` shows it."""

    model_config = ConfigDict(populate_by_name=True)

    stream_id: str
    from_s: float
    to_s: float
    from_: str = Field(alias="from")
    to: str
    probability: float
    at: str
    at_s: float
    is_whole: bool = Field(description="It is known not to be so right before and right after.")
    frame_url: str


class CoveredDocument(BaseModel):
    """A part of a stretch: judged by the model, excluded by the index, neither (`open`), or gone
    from the memory.
    """

    kind: Literal["judged", "excluded", "open", "gone"]
    from_s: float
    to_s: float


class FindingProgress(BaseModel):
    """How far it has come; as in FoundSpans."""

    judged: int
    known: int


class FoundSpans(BaseModel):
    """All spans, by stream and time; `coverage` has the parts of each stream's stretch."""

    object: str = "moments"
    statement: str
    data: list[FoundSpanDocument]
    coverage: dict[str, list[CoveredDocument]]
    judged: int = Field(description="Blocks that the model judged.")
    known: int = Field(description="Blocks that it had judged before.")
    seconds: float
