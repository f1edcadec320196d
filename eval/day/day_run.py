"""DayRun: an encoded day and a budget in, what came of it in each memory out, each done once."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eval.day.day_exam import draw_day_exam
from eval.day.day_memory import DayMemory, day_memories
from eval.day.encoded_day import EncodedDay
from eval.day.replay import Replay, Replayed
from eval.stream_benchmark.exam import ExamStream
from eval.stream_world import Script
from memory import BlockRecord
from vstream import VideoLLM, VStreamConfig

_BF16_BYTES = 2


@dataclass(frozen=True)
class DayOptions:
    """`budget_share` is of what the whole stream would take up as bf16 keys and values."""

    budget_share: float
    num_questions: int


class DayRun:
    """The replays of one directory. What is on record under the same options is not done again."""

    def __init__(
        self, path: Path, encoded: EncodedDay, options: DayOptions, script: Script
    ) -> None:
        """`encoded` is complete."""
        self._path = path
        self._encoded = encoded
        self._options = options
        self._script = script
        first = next(encoded.records())
        self.whole_tokens = first.head.form.layout.tokens * encoded.length_s
        """Before dropping: the first block is whole."""
        self.raw_bytes = _token_bytes(first) * self.whole_tokens
        self.budget_bytes = int(options.budget_share * self.raw_bytes)

    @cached_property
    def _exam(self) -> ExamStream:
        return draw_day_exam(self._script, self._options.num_questions)

    def run(
        self, model: VideoLLM, config: VStreamConfig, advance: Callable[[str, int], None]
    ) -> list[Replayed]:
        """Replay the day into every memory; `advance` is told of what and how many frames."""
        found = []
        for memory in day_memories(self._path / "memories", self.budget_bytes):
            if self._on_record(memory) is None:
                self._replay(memory, model, config, advance)
            else:
                advance(memory.name, self._encoded.length_s)
            replayed = self._on_record(memory)
            assert replayed is not None
            found.append(replayed)
        return found

    def described(self, found: Sequence[Replayed]) -> dict[str, Any]:
        """The size of it all, for the report."""
        return {
            **asdict(self._options),
            "whole_tokens": self.whole_tokens,
            "tokens": found[0].num_tokens,
            "blocks": found[0].num_blocks,
            "raw_bytes": self.raw_bytes,
            "budget_bytes": self.budget_bytes,
        }

    def _replay(
        self,
        memory: DayMemory,
        model: VideoLLM,
        config: VStreamConfig,
        advance: Callable[[str, int], None],
    ) -> None:
        shutil.rmtree(memory.folder, ignore_errors=True)
        replay = Replay(memory, self._exam, model)
        found = replay.run(
            self._encoded.records(), config, lambda frames: advance(memory.name, frames)
        )
        partial = self._file(memory).with_suffix(".json.partial")
        partial.write_text(json.dumps({"options": asdict(self._options), **asdict(found)}))
        partial.replace(self._file(memory))

    def _on_record(self, memory: DayMemory) -> Replayed | None:
        if not self._file(memory).exists():
            return None
        stored = json.loads(self._file(memory).read_text(encoding="utf-8"))
        return Replayed(**stored) if stored.pop("options") == asdict(self._options) else None

    def _file(self, memory: DayMemory) -> Path:
        return self._path / f"{memory.name}.json"


def _token_bytes(record: BlockRecord) -> int:
    """Keys and values of one token in all layers, as bf16."""
    layout = record.head.form.layout
    return 2 * len(record.rows) * layout.kv_heads * layout.head_dim * _BF16_BYTES
