"""StreamSearch: words and stretches of the service's streams in, the moments most like them out."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from memory import MemoryReader
from memory.locks import Rank, ranked_lock
from vstream.models.video_llm import VideoLLM
from vstream.search.moment import Moment
from vstream.search.moment_search import MomentSearch
from vstream.service.streams import Streams


class StreamSearch:
    """Keeps the search's index of each stream while the stream's memory stays the same."""

    def __init__(self, streams: Streams, model: VideoLLM, layers: Sequence[int] | None) -> None:
        """Raises SettingsError for layers that the decoder does not have."""
        self._streams = streams
        self._search = MomentSearch(model, layers)
        self._added: dict[str, MemoryReader] = {}
        self._lock = ranked_lock(Rank.SEARCH)

    def search(
        self, words: str, top: int, spans: Mapping[str, tuple[float | None, float | None]]
    ) -> list[Moment]:
        """At most `top` moments of the streams in `spans`, each within its stretch, best first. One
        search at a time. Raises UnknownStreamError, QuestionError, KVMemoryError.
        """
        with self._lock, ExitStack() as reading:
            for stream_id in spans:
                stream = reading.enter_context(self._streams.askable(stream_id))
                if self._added.get(stream_id) is not stream.memory:
                    self._search.add(stream_id, stream.memory)
                    self._added[stream_id] = stream.memory
            try:
                return self._search.search(words, top=top, spans=spans)
            finally:
                for stream_id in set(self._added) - set(spans):
                    if self._streams.find(stream_id) is None:
                        self._search.remove(stream_id)
                        del self._added[stream_id]
