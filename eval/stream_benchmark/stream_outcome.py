"""StreamOutcome: one stream under one policy in, its scores and its cost for the report out."""

from collections.abc import Iterator
from dataclasses import dataclass

from eval.run.cost import Cost
from eval.run.scored import Scored
from eval.stream_benchmark.exam import ExamStream
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.stream_blocks import Ingest
from eval.stream_benchmark.stream_records import Asking
from eval.stream_benchmark.watches import WatchRecord
from eval.stream_world.past import PAST


@dataclass(frozen=True)
class StreamOutcome:
    """`records` are of the stream's questions, in order; `watches` None: nothing was watched."""

    policy: str
    stream: ExamStream
    records: tuple[Record, ...]
    ingest: Ingest | None
    asking: Asking | None
    watches: tuple[WatchRecord, ...] | None
    newest_blocks: int | None = None
    """How many the policy has to keep; None: all."""

    def scored(self) -> Iterator[Scored]:
        """Each answer; that of a question about the present has no age of evidence."""
        for number, record in enumerate(self.records):
            yield Scored(
                question_id=f"{record.stream}/{number}",
                video=record.stream,
                policy=self.policy,
                task=record.kind,
                question=record.text,
                given=record.given,
                truth=record.truth,
                score=float(record.is_right),
                asked_s=record.asked_s,
                evidence_age_s=record.evidence_age_s if record.kind in PAST else None,
                first_token_ms=record.ttft_ms,
                group=_group(record),
            )

    def cost(self) -> Cost:
        """What was not measured or does not apply is None."""
        ingest, asking = self.ingest, self.asking
        return Cost(
            policy=self.policy,
            video=self.stream.name,
            video_s=self.stream.length_s,
            num_frames=ingest.num_frames if ingest else None,
            num_dropped=ingest.num_dropped if ingest else None,
            ingest_s=self._ingest_s(),
            num_bytes=self._grown_bytes(),
            fixed_bytes=self._fixed_bytes(),
            peak_bytes=asking.peak_bytes if asking else None,
            peak_of=asking.peak_of if asking else None,
        )

    def _ingest_s(self) -> float | None:
        """Captions are made while the stream plays, so their time belongs to it."""
        if self.ingest is None:
            return None
        return self.ingest.seconds + ((self.asking.text_s or 0.0) if self.asking else 0.0)

    def _grown_bytes(self) -> int | None:
        if self.ingest is None:
            return None
        if self.newest_blocks is None:
            return self.ingest.num_bytes
        return (self.asking.text_bytes or 0) if self.asking else 0

    def _fixed_bytes(self) -> int | None:
        """Of the newest blocks, where the policy reads no others: blocks are about equally long."""
        if self.ingest is None or self.newest_blocks is None:
            return None
        kept = min(self.newest_blocks, self.ingest.num_blocks)
        return round(self.ingest.num_bytes * kept / self.ingest.num_blocks)


def _group(record: Record) -> str:
    """Ordinary questions apart from those that are held out in one way or the other."""
    if record.style == "held_out":
        return "held-out style"
    if record.wording == "held_out":
        return "held-out wording"
    return "past" if record.kind in PAST else "present"
