"""StreamRecords: what is on record of one stream of a run: answers, watches and peaks of memory."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.run.peak_memory import PeakMemory
from eval.run.record_file import RecordFile
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.watches import WatchRecord


def records_of(run: Path, stream: str, name: str) -> RecordFile:
    """Each stream has files of its own, so that several processes can play streams of one run."""
    return RecordFile(run / "records" / stream / f"{name}.jsonl")


@dataclass(frozen=True)
class Peak:
    """The most memory in use while a policy answered: of the device, or of the process."""

    policy: str
    num_bytes: int
    of: str


class StreamRecords:
    """Answers come in the order of the stream's questions, so their number says what is missing."""

    def __init__(self, run: Path, stream: str, names: Iterable[str], watched: str) -> None:
        """Of the policies and baselines of these names."""
        self.answers = {name: records_of(run, stream, name) for name in names}
        self.watches = records_of(run, stream, f"{watched}.watches")
        self.peaks = records_of(run, stream, "peaks")

    def answered(self, name: str) -> list[Record]:
        """What one of them has answered so far."""
        return [Record.from_json(document) for document in self.answers[name].documents]

    def watched(self) -> list[WatchRecord]:
        return [WatchRecord(**document) for document in self.watches.documents]

    def add_peak(self, name: str, measured: PeakMemory) -> None:
        if measured.num_bytes is not None:
            self.peaks.append(asdict(Peak(name, measured.num_bytes, measured.of)))

    def peak(self, name: str) -> Peak | None:
        """The highest: a killed run answers a policy's questions in several goes."""
        peaks = [Peak(**document) for document in self.peaks.documents]
        own = [peak for peak in peaks if peak.policy == name]
        return max(own, key=lambda peak: peak.num_bytes, default=None)
