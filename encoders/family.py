"""Family: how one kind of Video-LLM turns frames and text into the input of its decoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from encoders.frame import Frame
from encoders.visual_tokens import TextTokens, VisualTokens


@dataclass(frozen=True)
class Turn:
    """One finished exchange of a dialogue, carried along by a follow-up question."""

    question: str
    answer: str


@dataclass(frozen=True)
class Recommended:
    """Settings that a family (or one checkpoint of it) was built or trained for.

    They are used where the user's configuration leaves a value open. Counts are in frames, but
    `retrieve_blocks`, which is in blocks.

    `watch_prompt` makes a question of a standing one, which takes the place of `{watch}`; an answer
    that opens with one of `yes_words` says that it is the case now, with one of `no_words` that it
    is not. It is told when the probability of yes has been over `watch_threshold` in the last
    `watch_confirmations` judgements, and again only after it has fallen to `watch_release` (None:
    to the threshold). A model that was trained to be silent until there is something to say opens
    with one of `silence_words` then; with others there are none. One that `reads_context` or
    `reads_dialogue` can be given what stands before a question. One that `reads_stream_time` was
    trained to find moments by that, and knows of no other clock. `knows` says what it was trained
    to see where that is not the world: whoever reads its answers is told.
    """

    sample_fps: float = 1.0
    window_frames: int = 64
    window_stride: int = 16
    recent_frames: int = 16
    retrieve_blocks: int = 64
    similarity: str = "inner_product"
    watch_prompt: str = "{watch}\nIs this the case right now? Answer only yes or no."
    yes_words: tuple[str, ...] = ("yes",)
    no_words: tuple[str, ...] = ("no",)
    watch_threshold: float = 0.5
    watch_confirmations: int = 2
    watch_release: float | None = None
    silence_words: tuple[str, ...] = ()
    reads_context: bool = True
    reads_dialogue: bool = True
    reads_stream_time: bool = False
    knows: str | None = None


class Family(Protocol):
    """One file a family. Stateless but for the weights and the tokenizer it was given."""

    name: str
    frames_per_block: int
    """1, or the frames of one temporal grid."""
    recommended: Recommended
    stop_ids: frozenset[int]
    """Token ids that end an answer."""
    vocabulary_size: int
    """Token ids from here on stand for nothing: a decoder may have more rows than there are."""

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode blocks, each given by its `frames_per_block` frames, in one pass of the tower.

        The result for one block does not depend on which others are encoded with it.
        """
        ...

    def prefix(self) -> TextTokens:
        """All that stands before the first block: the attention sinks of the stream."""
        ...

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        """All that stands after the last block, up to where the answer begins.

        `context` is what one should know to read the picture: it stands before the question, and is
        no part of its own words. A family that does not read it leaves it out. `answer_start` is
        put in the model's mouth: its answer goes on from there.
        """
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """Detokenize the ids of an answer, special tokens left out."""
        ...

    def first_tokens(self, words: Sequence[str]) -> frozenset[int]:
        """Token ids with which an answer begins that opens with one of `words`."""
        ...

    def tokenizer_json(self) -> str:
        """The tokenizer as tokenizer.json has it, added tokens included."""
        ...
