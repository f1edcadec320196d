"""MomentSearch: finds the moments of streams whose representative keys are most like some words.

The words are put to the model like a question, over the prefix alone, and their queries are
compared with the representative keys of all blocks (see `vstream.engine.retrieval`), by FAISS and
averaged over a few layers. Nothing is decoded and no keys and values are read: it says where to
look, not what is there. docs/search.md says how often it is right and why these layers. If a
stream's memory policy notes texts, those most like the words are found too.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from memory import (
    POLICIES,
    BlockNotFoundError,
    Hit,
    MemoryPolicy,
    MemoryReader,
    MomentIndex,
    Provenance,
    UnknownNameError,
    policy_named,
    written_under,
)
from memory.policy_hooks import FoundText
from vstream.device.work import WorkKind
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import text_query_work
from vstream.errors import QuestionError, SettingsError
from vstream.made_by import require_made_by
from vstream.models.video_llm import VideoLLM
from vstream.policy import shape_of
from vstream.read_while_written import read_while_written
from vstream.search.moment import Moment, joined, merged
from vstream.strange_pictures import strange_stretch

PHRASE = "find {words}"
"""A single word is understood better behind another than at the head of a question."""
BLOCKS_A_MOMENT = 8
"""How many blocks to look for first, for each moment that is wanted."""
Bounds = tuple[float | None, float | None]
"""A stretch of stream time; a bound that is None is open."""
LARGEST_PART = 4
"""At most one block in this many makes up moments, unless those are fewer than are wanted."""


class MomentSearch:
    """Searches the memories of any number of streams at once. Safe from any thread."""

    def __init__(self, model: VideoLLM, layers: Sequence[int] | None = None) -> None:
        """`layers` are those compared; None is the first and the middle one. Raises SettingsError
        for layers that the decoder does not have.
        """
        count = model.decoder.num_layers
        chosen = sorted({0, count // 2} if layers is None else set(layers))
        if not chosen or not 0 <= chosen[0] <= chosen[-1] < count:
            raise SettingsError(
                f"search_layers: {list(layers or ())} are no layers of a decoder that has 0 to "
                f"{count - 1}"
            )
        self.layers = chosen
        self._model = model
        self._streams: dict[str, tuple[MemoryReader, MomentIndex]] = {}
        self._policies: dict[str, MemoryPolicy] = {}
        with torch.inference_mode(), model.turn:
            self._prefix = prefix_kv(model.decoder, model.family.prefix())

    def add(self, stream: str, memory: MemoryReader) -> None:
        """Search `memory` from now on; the caller closes it. Raises FingerprintMismatchError, and
        PolicyError if what its memory policy needs to find texts is not installed.
        """
        require_made_by(self._model, memory.provenance)
        if (policy := _policy_with_texts(self._model, memory.provenance)) is not None:
            self._policies[stream] = policy
        index = MomentIndex(self.layers, memory.provenance.kv_heads * memory.provenance.head_dim)
        self._streams[stream] = memory, index

    def remove(self, stream: str) -> None:
        del self._streams[stream]
        self._policies.pop(stream, None)

    def search(
        self,
        words: str,
        *,
        top: int = 5,
        from_s: float | None = None,
        to_s: float | None = None,
        spans: Mapping[str, Bounds] | None = None,
    ) -> list[Moment]:
        """Return at most `top` moments of all streams, best first; only blocks of [from_s, to_s]
        count. With `spans` only the streams named there are searched, each in its own stretch.
        Raises QuestionError for no words or too many; KVMemoryError if a memory cannot be read.
        """
        if not words.strip():
            raise QuestionError("the search is empty: write what you look for, as 'a red car'")
        tokens = self._model.family.question(PHRASE.replace("{words}", words.strip()))
        work = text_query_work(self._model.decoder, self._prefix, tokens)
        queries = self._model.scheduler.run(work, WorkKind.ASK)
        query = torch.stack([queries[layer] for layer in self.layers])
        seen: list[Moment] = []
        texts: list[Moment] = []
        everywhere = dict.fromkeys(self._streams, (from_s, to_s))
        for stream, span in (everywhere if spans is None else spans).items():
            one = partial(self._of_stream, stream, query, top, *span)
            seen += read_while_written(one)
            texts += read_while_written(partial(self._texts_of, stream, words, top, *span))
        by_score = partial(sorted, key=lambda moment: (-moment.score, moment.stream))
        best = merged(by_score(seen)[:top], by_score(texts)[:top])[:top]
        with self._model.turn:
            return [replace(one, strange=self._strange(one)) for one in best]

    def _strange(self, moment: Moment) -> str | None:
        """Return None for a block that was forgotten meanwhile. Call it with the device's turn."""
        if moment.block_id is not None:
            memory, _ = self._streams[moment.stream]
            with suppress(BlockNotFoundError):
                return strange_stretch(memory, self._model.family, [moment.block_id])
        return None

    def _texts_of(
        self, stream: str, words: str, top: int, from_s: float | None, to_s: float | None
    ) -> list[Moment]:
        """Return one stream's texts about the stretch, best first, each with its newest picture."""
        policy, (memory, _) = self._policies.get(stream), self._streams[stream]
        if policy is None:
            return []
        with self._model.turn:
            state = memory.state
        within = [
            one
            for one in policy.found(words, state)
            if (from_s is None or one.to_s > from_s) and (to_s is None or one.from_s <= to_s)
        ]
        with self._model.turn:
            return [_moment_of(stream, memory, one) for one in within[:top]]

    def _of_stream(
        self,
        stream: str,
        query: Float[Tensor, "layers key_width"],
        top: int,
        from_s: float | None,
        to_s: float | None,
    ) -> list[Moment]:
        memory, index = self._streams[stream]
        with self._model.turn:
            memory.refresh()
            index.update(memory)
            kept = memory.visible(None)
            begin, end = _range(memory, kept, from_s, to_s)
            moments: list[Moment] = []
            for hits in _widening(index, query, kept[begin:end], top):
                moments = joined(stream, memory, kept, hits)
                if len(moments) >= top:
                    break
            shown = [one.block_id for one in moments[:top] if one.block_id is not None]
            pictures = memory.thumbnails(shown)
            return [
                replace(moment, thumbnail=picture)
                for moment, picture in zip(moments, pictures, strict=False)
            ]


def _moment_of(stream: str, memory: MemoryReader, found: FoundText) -> Moment:
    shown = [
        block_id
        for block_id in memory.visible(found.to_s, found.from_s)
        if memory.info(block_id).end_s < found.to_s
    ]
    return Moment(
        stream,
        found.from_s,
        found.to_s,
        found.score,
        shown[-1] if shown else None,
        found.captured_at,
        memory.thumbnail(shown[-1]) if shown else b"",
        found.text,
    )


def _policy_with_texts(model: VideoLLM, provenance: Provenance) -> MemoryPolicy | None:
    """Return the memory policy of a stream, if it finds texts. Raises PolicyError."""
    name, settings = written_under(provenance.fingerprint)
    with suppress(UnknownNameError):  # its package is not here, but its blocks can be searched
        if POLICIES.find(name).has("found"):
            return policy_named(name, shape_of(model, 1), settings)
    return None


def _range(
    memory: MemoryReader, kept: Sequence[int], from_s: float | None, to_s: float | None
) -> tuple[int, int]:
    """Return the range of `kept` whose blocks show any of [from_s, to_s]."""
    begin, end = 0, len(kept)
    if from_s is not None:
        begin = bisect_left(kept, from_s, key=lambda block_id: memory.info(block_id).end_s)
    if to_s is not None:
        end = bisect_right(kept, to_s, key=lambda block_id: memory.info(block_id).start_s)
    return begin, end


def _widening(
    index: MomentIndex, query: Tensor, ids: Sequence[int], top: int
) -> Iterator[list[Hit]]:
    """Yield the best of the blocks `ids`, more each time: neighbours may form one moment."""
    if not ids:
        return
    most = max(top, len(ids) // LARGEST_PART)
    count = min(most, BLOCKS_A_MOMENT * top)
    while True:
        yield index.search(query, count, ids[0], ids[-1] + 1)
        if count == most:
            return
        count = min(most, 2 * count)
