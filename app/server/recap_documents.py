"""Recap documents: what /v1/recaps and webhooks tell of what came and left."""

from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from app.server.moment_documents import CoveredDocument, FindingProgress, FoundSpanDocument

if TYPE_CHECKING:
    from vstream.search.recap import Recap, RecapEntry


class RecapEntryDocument(FoundSpanDocument):
    """A stretch in which what the model said, `sentence`, is so."""

    sentence: str
    came: bool = Field(description="It was not so before; else it is not known since when it is.")
    left: bool = Field(description="It was not so any more after it; else it still may be.")

    @classmethod
    def of_entry(cls, entry: "RecapEntry") -> Self:
        return cls.of(entry, sentence=entry.sentence, came=entry.came, left=entry.left)


class RecapProgress(FindingProgress):
    """How far it has come; as in RecapDocument."""

    described: int

    @classmethod
    def of(cls, recap: "Recap") -> Self:
        return cls(described=recap.described, judged=recap.judged, known=recap.known)


class RecapDocument(BaseModel):
    """All entries, in time order; `coverage` has the parts of each stream's stretch."""

    object: str = "recap"
    title: str
    begins_at: float | None = Field(None, description="Seconds since the epoch, if there is any.")
    ends_at: float | None = Field(None, description="As `begins_at`.")
    timezone: str = Field("UTC", description="Of the times in `title`.")
    data: list[RecapEntryDocument]
    coverage: dict[str, list[CoveredDocument]]
    described: int = Field(description="Runs of alike blocks that the model described.")
    judged: int = Field(description="Blocks that the model judged.")
    known: int = Field(description="Blocks that it had judged before.")
    dropped: int = Field(description="Sentences that the model did not confirm.")
    unchecked: int = Field(description="Sentences for which no time or judgement was left.")
    seconds: float

    @classmethod
    def of(cls, recap: "Recap", zone: ZoneInfo) -> Self:
        """Of one that has ended; its title has times in `zone`."""
        told = recap.document()
        del told["entries"]
        entries = [RecapEntryDocument.of_entry(entry) for entry in recap.entries]
        begins_at, ends_at = recap.between
        between = {"begins_at": begins_at, "ends_at": ends_at, "timezone": zone.key}
        return cls(title=recap.title(zone), data=entries, **between, **told)
