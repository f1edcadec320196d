"""StreamRecords: what is on record of one stream of a run: answers, watches, what asking took."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eval.run.record_file import RecordFile
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.watches import WatchRecord


def records_of(run: Path, stream: str, name: str) -> RecordFile:
    """Each stream has files of its own, so that several processes can play streams of one run."""
    return RecordFile(run / "records" / stream / f"{name}.jsonl")


@dataclass(frozen=True)
class Asking:
    """What asking a policy took: the peak of memory, of the device or of the process (`peak_of`).

    `text_bytes` are those of captions and `text_s` is what making them took, where the policy
    keeps captions instead of blocks.
    """

    policy: str
    peak_bytes: int | None
    peak_of: str
    text_bytes: int | None = None
    text_s: float | None = None


class StreamRecords:
    """Answers come in the order of the stream's questions, so their number says what is missing."""

    def __init__(self, run: Path, stream: str, names: Iterable[str], watched: str) -> None:
        """Of the policies and baselines of these names."""
        self.answers = {name: records_of(run, stream, name) for name in names}
        self.watches = records_of(run, stream, f"{watched}.watches")
        self.askings = records_of(run, stream, "askings")

    def answered(self, name: str) -> list[Record]:
        """What one of them has answered so far."""
        return [Record.from_json(document) for document in self.answers[name].documents]

    def watched(self) -> list[WatchRecord]:
        return [WatchRecord(**document) for document in self.watches.documents]

    def asking(self, name: str) -> Asking | None:
        """With the highest peak: after a kill a policy's questions are asked in several goes."""
        askings = [Asking(**document) for document in self.askings.documents]
        own = [asking for asking in askings if asking.policy == name]
        return max(own, key=lambda asking: asking.peak_bytes or 0, default=None)
