"""Answering: who asks in, an asker with a place to be answered in out, for as long as it takes."""

from memory.locks import Rank, ranked_lock
from vstream.device.asker import Asker
from vstream.device.shares import Holder, require_room


class Answering:
    """The places of all requests and responses that are being answered. May be used from any
    thread.
    """

    def __init__(self, most: int) -> None:
        """`most` places, of which each holder has a share; see `vstream.device.shares`."""
        self.most = most
        self._lock = ranked_lock(Rank.ANSWERING)
        self._askers: list[Asker] = []

    @property
    def num(self) -> int:
        return len(self._askers)

    def take(self, holder: Holder | None) -> Asker:
        """One more; it is given back by `end`. Raises BusyError."""
        asker = Asker(holder)
        with self._lock:
            taken = [other.holder for other in self._askers]
            require_room(holder, taken, self.most, "questions are being answered")
            self._askers.append(asker)
        return asker

    def end(self, asker: Asker) -> None:
        """Nobody waits for the answer any more, or it is there."""
        with self._lock:
            self._askers.remove(asker)
        asker.leave()

    def cut_off(self) -> None:
        """All answers end here, and those that have not begun do not."""
        with self._lock:
            askers = list(self._askers)
        for asker in askers:
            asker.leave()
