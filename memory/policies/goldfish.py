"""goldfish: remembers the past as the model's own descriptions of clips, found and read as text.

Source: Goldfish (Ataallah et al., ECCV 2024, https://arxiv.org/abs/2407.12679, section 3).

    the stream is cut into clips; the model describes each, a sentence encoder embeds the text
    a question reads the k descriptions whose vectors have the largest cosine with its own

Differs: a clip is described when it ends, not when a question comes; dropped and evicted clips are
counted; there are no subtitles; an answer also sees the newest frames, unless `frames` is 0.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import ceil
from typing import TYPE_CHECKING

from pydantic import Field

from memory.errors import PolicyError
from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card, Encoding, MemoryPolicy, ModelShape, PolicySettings
from memory.policy_hooks import (
    Context,
    FoundText,
    KeptBlocks,
    Passage,
    Query,
    State,
    StateChange,
    Wish,
    changed,
    state_bytes,
)

if TYPE_CHECKING:
    from memory.block_info import BlockInfo

_CLIP_BYTES = 1000
"""Roughly one clip: 384 numbers of two bytes, and a few sentences."""
_HEAD = struct.Struct("<ddI")
_GONE = "gone"
_COUNT = struct.Struct("<Qd")


class GoldfishSettings(PolicySettings):
    """The length of a clip, what a question reads of clips, and their bounds."""

    clip_s: int = Field(30, ge=1, le=600, description="Length of a clip, in seconds.")
    clips: int = Field(3, ge=1, description="Clips whose descriptions a question reads.")
    frames: int | None = Field(
        None,
        ge=0,
        description="Newest frames that a question reads beside them, in frames; unset: a clip's, "
        "so that there is no gap before the clip that has not ended; 0: none, as in the paper.",
    )
    waiting: int = Field(
        2,
        ge=1,
        description="Clips whose blocks are kept while they wait to be described; a clip that "
        "waits longer is given up.",
    )
    text_bytes: int = Field(
        16 << 20, ge=4096, description="Bytes of all descriptions; the oldest go."
    )


@dataclass(frozen=True, kw_only=True)
class _ClipWish(Wish):
    number: int
    """Clip n begins at n * clip_s and ends where the next begins."""
    known_s: float
    """The end of the first block after it: only then is the clip known to have ended."""
    captured_at: float
    """Of its last block."""


@dataclass(frozen=True)
class _Clip:
    """A clip that was described."""

    number: int
    known_s: float
    captured_at: float
    text: str
    vector: bytes

    @classmethod
    def of_note(cls, name: str, note: bytes) -> "_Clip":
        known_s, captured_at, size = _HEAD.unpack_from(note)
        text = note[_HEAD.size : _HEAD.size + size].decode()
        return cls(int(name), known_s, captured_at, text, note[_HEAD.size + size :])

    def note(self) -> StateChange:
        text = self.text.encode()
        head = _HEAD.pack(self.known_s, self.captured_at, len(text))
        return {f"{self.number:09d}": head + text + self.vector}


class Goldfish(MemoryPolicy):
    """Notes each clip under its number; and how many were dropped or evicted, and until when."""

    name = "goldfish"
    card = Card(
        paper="Goldfish (Ataallah et al., ECCV 2024), arXiv 2407.12679",
        keeps="the newest blocks, and of each clip that ended the model's own description; a "
        "question reads the newest frames, and the descriptions that are most like it",
        differs="a clip is described when it has ended, in rounds that nobody else wants, and not "
        "read before; no subtitles: sources have none; unless frames=0 the newest frames are read "
        "beside the text",
        is_exact=False,
    )
    Settings = GoldfishSettings
    settings: GoldfishSettings
    changes_store = True
    follows_times = False

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        super().__init__(shape, settings)
        if shape.sentence_vectors is None:
            raise PolicyError(
                "policy goldfish: it compares sentences: pip install 'vstream[captions]'"
            )
        self._vectors = shape.sentence_vectors
        self._clip_frames = ceil(self.settings.clip_s * shape.sample_fps)

    def encoding(self) -> Encoding:
        return Default(self.shape, DefaultSettings()).encoding()

    def recent_blocks(self) -> int:
        frames = self.settings.frames
        return self.shape.blocks(self._clip_frames if frames is None else frames)

    def prepare(self, text: str) -> None:
        self._vectors([text])

    def wishes(self, blocks: KeptBlocks, state: State) -> Sequence[Wish]:
        """Describe a clip once a block after it has arrived; skip clips without blocks."""
        clip_s, done = self.settings.clip_s, self._done(state)
        infos = [blocks.info(one) for one in blocks.visible(None, (done + 1) * clip_s)]
        clips = [
            (number, list(clip)) for number, clip in groupby(infos, lambda one: one.end_s // clip_s)
        ]
        return [
            self._wish(int(number), clip[-1], after[0])
            for (number, clip), (_, after) in pairwise(clips)
        ]

    def answered(self, wish: Wish, text: str | None, state: State) -> StateChange:
        """Note the description, and evict the oldest ones to make room for it."""
        assert isinstance(wish, _ClipWish)
        if text is None:
            return self._one_more_gone(state, wish.number)
        [vector] = self._vectors([text])
        clip = _Clip(
            wish.number, wish.known_s, wish.captured_at, text, vector.astype("<f2").tobytes()
        )
        change = dict(clip.note())
        while state_bytes(changed(state, change)) > self.settings.text_bytes:
            oldest = min(name for name in changed(state, change) if name != _GONE)
            change |= self._one_more_gone(changed(state, change), int(oldest))
            change[oldest] = None
        return change

    def context(self, query: Query, state: State) -> Context:
        """Return the clips known by then that are most like the question, in stream order."""
        clips = [
            one
            for one in _clips(state)
            if one.known_s <= query.at_s
            and (query.from_s is None or self._span(one)[1] > query.from_s)
        ]
        best = [number for _, number in self._scored(query.text, clips)[: self.settings.clips]]
        return Context(passages=[self._passage(clips[at]) for at in sorted(best)])

    def found(self, words: str, state: State) -> Sequence[FoundText]:
        clips = _clips(state)
        return [
            FoundText(*self._span(clips[at]), clips[at].captured_at, clips[at].text, score)
            for score, at in self._scored(words, clips)
        ]

    def forgotten(self, state: State, from_s: float, to_s: float) -> StateChange:
        """Delete clips that show any of it."""
        spans = {one.number: self._span(one) for one in _clips(state)}
        gone = [at for at, (begin_s, end_s) in spans.items() if begin_s <= to_s and end_s > from_s]
        return dict.fromkeys(f"{number:09d}" for number in gone)

    def expired(self, state: State, before_s: float) -> StateChange:
        """Delete clips that begin before `before_s`."""
        first = ceil(before_s / self.settings.clip_s)
        return {name: None for name in state if name != _GONE and int(name) < first}

    def coarser_since(self, state: State) -> float | None:
        return self.gone(state)[1] or None

    def gone(self, state: State) -> tuple[int, float]:
        """Return how many clips were dropped or evicted, and the end of the newest of them."""
        count, end_s = _COUNT.unpack(state[_GONE]) if _GONE in state else (0, 0.0)
        return int(count), float(end_s)

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        return min(self.settings.text_bytes, frames // self._clip_frames * _CLIP_BYTES)

    def keep_blocks(self) -> int:
        """Also count waiting clips, the current clip, and two chunks after it."""
        clips = self.shape.blocks(self._clip_frames) * (1 + self.settings.waiting)
        return max(self.needed_blocks(), clips + 2 * self.encoding().stride_blocks)

    def needed_blocks(self) -> int:
        return max(self.recent_blocks(), self.encoding().window_blocks)

    def _wish(self, number: int, last: "BlockInfo", after: "BlockInfo") -> Wish:
        return _ClipWish(
            self.shape.describe_prompt,
            last.end_s,
            float(number * self.settings.clip_s),
            number=number,
            known_s=after.end_s,
            captured_at=last.captured_at,
        )

    def _done(self, state: State) -> int:
        """Return the newest clip that was described or dropped; -1 before the first."""
        newest = max((int(name) for name in state if name != _GONE), default=-1)
        return max(newest, int(self.gone(state)[1] // self.settings.clip_s) - 1)

    def _one_more_gone(self, state: State, number: int) -> StateChange:
        count, gone_s = self.gone(state)
        end_s = float((number + 1) * self.settings.clip_s)
        return {_GONE: _COUNT.pack(count + 1, max(gone_s, end_s))}

    def _span(self, clip: _Clip) -> tuple[float, float]:
        clip_s = self.settings.clip_s
        return float(clip.number * clip_s), float((clip.number + 1) * clip_s)

    def _scored(self, text: str, clips: Sequence[_Clip]) -> list[tuple[float, int]]:
        """Return cosines and places, best first; the earlier of two equals comes first."""
        if not clips:
            return []
        import numpy as np

        [vector] = self._vectors([text])
        kept = np.stack([np.frombuffer(one.vector, "<f2") for one in clips]).astype(np.float32)
        scores = (kept @ vector).tolist()
        return sorted(((score, at) for at, score in enumerate(scores)), key=lambda one: -one[0])

    def _passage(self, clip: _Clip) -> Passage:
        begin, end = map(_clock, self._span(clip))
        return Passage(
            f"what did you see from {begin} to {end}?",
            clip.text,
            f"from {begin} to {end}: {clip.text}.",
        )


def _clips(state: State) -> list[_Clip]:
    """Return the clips in stream order."""
    return [_Clip.of_note(name, state[name]) for name in sorted(state) if name != _GONE]


def _clock(at_s: float) -> str:
    whole_s = int(at_s)
    return f"{whole_s // 3600}h{whole_s // 60 % 60:02d}m{whole_s % 60:02d}s"
