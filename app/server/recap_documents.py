"""Recap documents: what /v1/recaps and webhooks return for a recap."""

from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, Field

from app.server.moment_documents import CoveredDocument, FindingProgress, FoundSpanDocument

if TYPE_CHECKING:
    from vstream.search.recap import Recap, RecapEntry


class RecapEntryDocument(FoundSpanDocument):
    """A span in which the model's `sentence` is true."""

    sentence: str
    came: bool = Field(description="Whether it was false before; else its beginning is unknown.")
    left: bool = Field(description="Whether it was false afterwards; else it may still be true.")

    @classmethod
    def of_entry(cls, entry: "RecapEntry") -> Self:
        return cls.of(entry, sentence=entry.sentence, came=entry.came, left=entry.left)


class RecapProgress(FindingProgress):
    """Progress so far; fields as in RecapDocument."""

    described: int

    @classmethod
    def of(cls, recap: "Recap") -> Self:
        return cls(described=recap.described, judged=recap.judged, known=recap.known)


class RecapDocument(BaseModel):
    """All entries, in time order; `coverage` has the parts of each stream's range."""

    object: str = "recap"
    title: str
    begins_at: float | None = Field(None, description="Seconds since the epoch, if there is any.")
    ends_at: float | None = Field(None, description="As `begins_at`.")
    timezone: str = Field("UTC", description="Of the times in `title`.")
    data: list[RecapEntryDocument]
    coverage: dict[str, list[CoveredDocument]]
    described: int = Field(description="Runs of similar blocks that the model described.")
    judged: int = Field(description="Blocks that the model judged.")
    known: int = Field(description="Blocks that the model had judged before.")
    dropped: int = Field(description="Sentences that the model did not confirm.")
    unchecked: int = Field(description="Sentences left unchecked when the effort was used up.")
    seconds: float

    @classmethod
    def of(cls, recap: "Recap", zone: ZoneInfo) -> Self:
        """Describe a finished recap; times in its title are in `zone`."""
        facts = recap.document()
        del facts["entries"]
        entries = [RecapEntryDocument.of_entry(entry) for entry in recap.entries]
        begins_at, ends_at = recap.between
        between = {"begins_at": begins_at, "ends_at": ends_at, "timezone": zone.key}
        return cls(title=recap.title(zone), data=entries, **between, **facts)
