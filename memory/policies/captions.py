"""captions: the newest frames, and the past in the model's own words.

Source: services that keep text instead of visual tokens: a Video-LLM captions the stream, a
sentence encoder indexes the captions, and the best ones are read with the question (so NVIDIA's
blueprint for video search and summarisation, 2025; Goldfish, ECCV 2024,
https://arxiv.org/abs/2407.12679, finds clips by such descriptions).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from memory.errors import PolicyError
from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card, Encoding, MemoryPolicy, ModelShape, PolicySettings
from memory.policy_hooks import (
    NOTHING,
    Context,
    KeptBlocks,
    Passage,
    Query,
    State,
    StateChange,
    Wish,
)

if TYPE_CHECKING:
    import numpy as np

_ASKED = "what do you see now?"
_CAPTION_BYTES = 1600
"""A vector of 384 numbers and a sentence."""
_END = b"\0"
"""Stands between a text and its vector."""


class CaptionsSettings(PolicySettings):
    """How often the model describes what it sees, and how much of that is read."""

    every_s: int = Field(
        10, ge=1, description="A caption is made in the last second of every so many, in seconds."
    )
    read: int = Field(8, ge=1, description="Captions that a question reads.")


class Captions(MemoryPolicy):
    """A caption is of the recent window at its time, and outlives the blocks that it describes."""

    name = "captions"
    card = Card(
        paper="text memories, as Goldfish (Ataallah et al., ECCV 2024), arXiv 2407.12679",
        keeps="the newest blocks, and captions that the model makes of them; a question reads the "
        "newest, and those captions that are most like it",
        differs="a caption of a moment, not of a clip; no subtitles; answered with the newest "
        "frames, not from text alone",
        is_exact=False,
    )
    Settings = CaptionsSettings
    settings: CaptionsSettings
    changes_store = True
    follows_times = False

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        super().__init__(shape, settings)
        if shape.sentence_vectors is None:
            raise PolicyError("policy captions: it compares sentences: pip install 'vstream[eval]'")
        self._vectors = shape.sentence_vectors
        self._newest = Default(shape, DefaultSettings(retrieve_blocks=0))

    def encoding(self) -> Encoding:
        return self._newest.encoding()

    def recent_blocks(self) -> int:
        return self._newest.recent_blocks()

    def wishes(self, blocks: KeptBlocks, state: State) -> Sequence[Wish]:
        every_s = self.settings.every_s
        newest = max((int(name) for name in state), default=-1)
        first_s = (newest // every_s + 1) * every_s + every_s - 1
        due = range(first_s, int(blocks.newest_s) + 1, every_s)
        return [Wish(_ASKED, at_s) for at_s in due if blocks.visible(at_s, at_s - every_s)]

    def answered(self, wish: Wish, text: str) -> StateChange:
        at_s = int(wish.at_s)
        [vector] = self._vectors([f"{_clock(at_s)}: {text}"])
        return {f"{at_s:09d}": text.encode() + _END + vector.astype("<f4").tobytes()}

    def context(self, query: Query, state: State) -> Context:
        """The captions made by then that are most like the question, in stream order."""
        times = [int(name) for name in sorted(state) if int(name) <= query.at_s]
        if not times:
            return NOTHING
        captions = [state[f"{at_s:09d}"].partition(_END) for at_s in times]
        [vector] = self._vectors([query.text])
        best = _most_like(vector, [kept for _, _, kept in captions], self.settings.read)
        return Context(passages=[_passage(times[at], captions[at][0].decode()) for at in best])

    def forgotten(self, state: State, from_s: float, to_s: float) -> StateChange:
        """Also those whose recent window may have reached back to it."""
        seen_s = self.settings.every_s + self.shape.recent_frames
        return {name: None for name in state if from_s <= int(name) <= to_s + seen_s}

    def expired(self, state: State, before_s: float) -> StateChange:
        return {name: None for name in state if int(name) < before_s}

    def noted_bytes(self, seconds: int, token_bytes: int) -> int:
        return seconds // self.settings.every_s * _CAPTION_BYTES

    def keep_blocks(self) -> int:
        return max(self.recent_blocks(), self.encoding().window_blocks)

    def needed_blocks(self) -> int:
        return self.keep_blocks()


def _most_like(vector: "np.ndarray", kept: Sequence[bytes], count: int) -> list[int]:
    import numpy as np

    scores = np.stack([np.frombuffer(one, "<f4") for one in kept]) @ vector
    return sorted(np.argsort(-scores, kind="stable")[:count].tolist())


def _passage(at_s: int, text: str) -> Passage:
    when = _clock(at_s)
    return Passage(f"what did you see at {when}?", text, f"at {when}: {text}.")


def _clock(at_s: int) -> str:
    return f"{at_s // 3600}h{at_s // 60 % 60:02d}m{at_s % 60:02d}s"
