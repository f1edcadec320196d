"""Answering: give each question a place, held until it is answered."""

from memory.locks import Rank, ranked_lock
from vstream.device.asker import Asker
from vstream.device.shares import Holder, require_room


class Answering:
    """The places of all requests and responses being answered. Thread-safe."""

    def __init__(self, most: int) -> None:
        """Each holder has a share of the `most` places; see `vstream.device.shares`."""
        self.most = most
        self._lock = ranked_lock(Rank.ANSWERING)
        self._askers: list[Asker] = []

    @property
    def num(self) -> int:
        return len(self._askers)

    def take(self, holder: Holder | None) -> Asker:
        """Take a place; `end` gives it back. Raises BusyError."""
        asker = Asker(holder)
        with self._lock:
            taken = [other.holder for other in self._askers]
            require_room(holder, taken, self.most, "questions are being answered")
            self._askers.append(asker)
        return asker

    def end(self, asker: Asker) -> None:
        """Give the place back: the answer is done, or nobody waits for it any more."""
        with self._lock:
            self._askers.remove(asker)
        asker.leave()

    def cut_off(self) -> None:
        """End all running answers, and cancel those that have not started."""
        with self._lock:
            askers = list(self._askers)
        for asker in askers:
            asker.leave()
