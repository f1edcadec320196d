"""What is found in stretches of streams, as the API has it."""

from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from app.server.documents import frame_url, rfc3339
from vstream.search.hunter import FoundSpan
from vstream.search.recap import Recap, RecapEntry


class FoundSpanDocument(BaseModel):
    """A stretch in which it is so. `at` is when it is most probable, and `frame_url` shows it."""

    stream_id: str
    from_s: float
    to_s: float
    from_: str = Field(serialization_alias="from")
    to: str
    probability: float
    at: str
    at_s: float
    is_whole: bool = Field(description="It is known not to be so right before and right after.")
    frame_url: str

    @classmethod
    def of(cls, span: FoundSpan, **more: Any) -> Self:
        """Of a span, and what else there is to say of it."""
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
    """A part of a stretch: judged by the model, excluded by the index, neither (`open`), or gone
    from the memory.
    """

    kind: Literal["judged", "excluded", "open", "gone"]
    from_s: float
    to_s: float


class RecapEntryDocument(FoundSpanDocument):
    """A stretch in which what the model said, `sentence`, is so."""

    sentence: str
    came: bool = Field(description="It was not so before; else it is not known since when it is.")
    left: bool = Field(description="It was not so any more after it; else it still may be.")

    @classmethod
    def of_entry(cls, entry: RecapEntry) -> Self:
        return cls.of(entry, sentence=entry.sentence, came=entry.came, left=entry.left)


class RecapDocument(BaseModel):
    """All entries, in time order; `coverage` has the parts of each stream's stretch."""

    object: str = "recap"
    title: str
    data: list[RecapEntryDocument]
    coverage: dict[str, list[CoveredDocument]]
    described: int = Field(description="Runs of alike blocks that the model described.")
    judged: int = Field(description="Blocks that the model judged.")
    known: int = Field(description="Blocks that it had judged before.")
    dropped: int = Field(description="Sentences that the model did not confirm.")
    seconds: float

    @classmethod
    def of(cls, recap: Recap, zone: ZoneInfo) -> Self:
        """Of one that has ended; its title has times in `zone`."""
        told = recap.document()
        del told["entries"]
        entries = [RecapEntryDocument.of_entry(entry) for entry in recap.entries]
        return cls(title=recap.title(zone), data=entries, **told)
