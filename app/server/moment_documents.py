"""Moment documents: what /v1/moments returns for the spans in which a statement is true."""

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.server.documents import frame_url, rfc3339

if TYPE_CHECKING:
    from vstream.search.hunter import FoundSpan


class FoundSpanDocument(BaseModel):
    """A span in which the statement is true. It is most probable `at`, which `frame_url` shows."""

    model_config = ConfigDict(populate_by_name=True)

    stream_id: str
    from_s: float
    to_s: float
    from_: str = Field(alias="from")
    to: str
    probability: float
    at: str
    at_s: float
    is_whole: bool = Field(description="Whether it is known to be false just before and after.")
    frame_url: str

    @classmethod
    def of(cls, span: "FoundSpan", **more: Any) -> Self:
        """Describe a span, with `more` fields of a subclass."""
        same = ("from_s", "to_s", "probability", "at_s", "is_whole")
        return cls(
            stream_id=span.stream,
            from_=rfc3339(span.from_at),
            to=rfc3339(span.to_at),
            at=rfc3339(span.at),
            frame_url=frame_url(span.stream, span.at_s),
            **{name: getattr(span, name) for name in same},
            **more,
        )


class CoveredDocument(BaseModel):
    """A part of the range: judged by the model, excluded by the index, neither (`open`), or gone
    from the memory.
    """

    kind: Literal["judged", "excluded", "open", "gone"]
    from_s: float
    to_s: float


class FindingProgress(BaseModel):
    """Progress so far; fields as in FoundSpans."""

    judged: int
    known: int


class FoundSpans(BaseModel):
    """All spans, by stream and time; `coverage` has the parts of each stream's range."""

    object: str = "moments"
    statement: str
    data: list[FoundSpanDocument]
    coverage: dict[str, list[CoveredDocument]]
    strange: dict[str, str] = Field(
        {}, description="Streams with pictures that the model does not know, and what that means."
    )
    judged: int = Field(description="Blocks that the model judged.")
    known: int = Field(description="Blocks that the model had judged before.")
    seconds: float
