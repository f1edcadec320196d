"""GrammarTrials: tries an untrusted grammar and gives a turn to compile it, or says what is wrong.

A grammar is first compiled in a process that it may bring down, and the outcome is remembered. Only
one is tried and compiled at a time, so that many bad ones take one core, not all. Few may wait,
each holder has a share of the places, and an asker who has left stops waiting.
"""

import signal
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

from memory.locks import Rank, ranked_condition, ranked_lock
from vstream.device.asker import Asker
from vstream.device.shares import Holder, require_room
from vstream.errors import BusyError

MOST_WAITING = 16
_MOST_REMEMBERED = 4096
_SCRIPT = Path(__file__).with_name("schema_trial.py")
_PATIENCE_S = 30.0
"""The trial allows itself half a second of CPU time, which takes longer on a busy machine."""
_ENDED_BY_OTHERS = (-signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL)
"""Exit codes that say nothing about the grammar."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Newest(Generic[Key, Value]):
    """Keeps the `most` values used last. Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = ranked_lock(Rank.KNOWN_SCHEMAS)
        self._kept: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Store it, and evict the value that was used least recently if there are too many."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)


@dataclass(frozen=True, eq=False)
class _Turn:
    key: bytes
    holder: Holder | None


class GrammarTrials:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._changed = ranked_condition(Rank.SCHEMAS)
        self._line: list[_Turn] = []
        """The first has its turn, the others wait."""
        self._known: Newest[bytes, str] = Newest(_MOST_REMEMBERED)

    @contextmanager
    def turn(self, grammar: str, asker: Asker) -> Iterator[str]:
        """Yield what is wrong with `grammar`; if nothing, the caller may compile it meanwhile.
        Raises BusyError if too many wait, CancelledError if the asker leaves.
        """
        turn = _Turn(sha256(grammar.encode("utf-8", "surrogatepass")).digest(), asker.holder)
        if problem := self._known.get(turn.key):
            yield problem
            return
        self._join(turn)
        try:
            self._await(turn, asker)
            problem = self._known.get(turn.key)
            if problem is None:
                problem = _problem_of(grammar, asker)
                self._known.put(turn.key, problem)
            yield problem
        finally:
            with self._changed:
                self._line.remove(turn)
                self._changed.notify_all()

    def _join(self, turn: _Turn) -> None:
        """Join the line; waiting for a grammar that is already in it takes no place."""
        with self._changed:
            if all(other.key != turn.key for other in self._line):
                waiting = {other.key: other.holder for other in self._line[1:]}
                require_room(turn.holder, list(waiting.values()), MOST_WAITING, "schemas wait")
            self._line.append(turn)

    def _await(self, turn: _Turn, asker: Asker) -> None:
        asker.on_leave(self._look)
        with self._changed:
            self._changed.wait_for(lambda: self._line[0] is turn or asker.has_left)
        _refuse_left(asker)

    def _look(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _problem_of(grammar: str, asker: Asker) -> str:
    with subprocess.Popen(
        [sys.executable, "-P", str(_SCRIPT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as trial:
        asker.on_leave(trial.kill)
        try:
            problem, _ = trial.communicate(grammar, timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            trial.kill()
    _refuse_left(asker)
    if trial.returncode in _ENDED_BY_OTHERS:
        raise BusyError("the machine is too busy to try this schema: try again shortly")
    return "compiling it takes too much time or memory" if trial.returncode else problem


def _refuse_left(asker: Asker) -> None:
    if asker.has_left:
        raise CancelledError
