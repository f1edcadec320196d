"""What a memory policy is told and notes of a stream, and what it may want of the model.

Its notes are bytes by name, kept beside the blocks in every tier. A note rides on a block: it is
there once that block is, and not before, whenever the process dies. It outlives the block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from memory.block_info import BlockInfo

State = Mapping[str, bytes]
"""Everything noted so far."""
StateChange = Mapping[str, bytes | None]
"""What is noted in addition or in place of what has that name; None: it goes."""
UNCHANGED: StateChange = {}


def changed(state: State, change: StateChange) -> dict[str, bytes]:
    """The state after a change."""
    merged = {**state, **change}
    return {name: value for name, value in merged.items() if value is not None}


def state_bytes(state: State) -> int:
    """Bytes of names and values."""
    return sum(len(name.encode()) + len(value) for name, value in state.items())


class Tokens(Protocol):
    """The decoder's input for one block: what `encoders.VisualTokens` says of it."""

    @property
    def embeddings(self) -> "Float[Tensor, 'tokens d_model']": ...
    @property
    def positions(self) -> "Int[Tensor, 'axes tokens']": ...
    @property
    def advance(self) -> "Int[Tensor, ' axes']": ...
    @property
    def is_visual(self) -> "Bool[Tensor, ' tokens']": ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def deepstack(self) -> "Float[Tensor, 'depth visual d_model'] | None": ...


class Reducer(Protocol):
    """Leaves visual tokens of one stream out, or merges them, before the decoder."""

    def drop(self, chunk: Sequence[Tokens]) -> list[Tokens]:
        """The next blocks of the stream, at least one token each, however they come in chunks."""

    def forget(self) -> None:
        """What came last is not among the stream's blocks: compare the next with nothing."""


@dataclass(frozen=True, eq=False)
class NewBlock:
    """A block that is about to be kept."""

    block_id: int
    tokens: Tokens
    """As they went into the decoder."""
    mass: "Mapping[int, Float[Tensor, 'layers kv_heads tokens']]"
    """For the blocks of the window by id, this one among them: the attention that each token got
    from the queries of this one, summed over them and the heads of a group. Empty unless wanted.
    """
    picture: "Float[Tensor, ' dim'] | None" = None
    """The unit vector that the family makes of its picture. None unless wanted."""
    oldest_id: int = 0
    """The oldest block that is kept."""


class KeptBlocks(Protocol):
    """What is known of the blocks that are there."""

    @property
    def newest_s(self) -> float:
        """Stream time of the end of the newest block; 0 without blocks."""

    def visible(self, at_s: float | None, from_s: float | None = None) -> list[int]:
        """Ids of those that ended at `at_s` or before; with `from_s`, that show something since."""

    def info(self, block_id: int) -> "BlockInfo": ...


@dataclass(frozen=True)
class Wish:
    """A question of the policy's own, about what was to be seen at `at_s`.

    With `from_s` it reads all blocks from then on, and else the recent window.
    """

    text: str
    at_s: float
    from_s: float | None = None


@dataclass(frozen=True)
class Query:
    """A question as a policy is asked for its context."""

    text: str
    at_s: float
    """Stream time: it sees what ended by then."""
    from_s: float | None = None
    """And nothing from before that."""


@dataclass(frozen=True)
class Passage:
    """A text that a question reads: a turn of the dialogue, or a sentence where none is read."""

    question: str
    answer: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Dialogue:
    """The tokens of a question's dialogue, and what the model made of them."""

    turns: "Int[Tensor, ' tokens']"
    """Which turn each belongs to, in order."""
    surprise: "Float[Tensor, ' tokens']"
    """-log p(token | text before it)."""
    repeat: "Float[Tensor, ' tokens']"
    """-log p(the same token once more | text up to it)."""


@dataclass(frozen=True, eq=False)
class Context:
    """What a question reads besides blocks.

    It stands as [prefix | visual tokens | blocks | passages | dialogue | question].
    """

    tokens: Sequence[Tokens] = ()
    """Visual tokens, which the decoder reads again, block by block."""
    block_ids: Sequence[int] = ()
    """The blocks that they show, for the answer's evidence."""
    passages: Sequence[Passage] = ()
    text_from: int | None = None
    """Where no blocks are read: so many positions behind the prefix text goes on, wherever the
    visual tokens stand; None: behind the last position.
    """


NOTHING = Context()


@dataclass(frozen=True)
class FoundText:
    """A text that a search found among the notes, about `from_s` to `to_s`, in stream time.

    `captured_at` is the wall-clock time of its newest frame, in seconds since 1970; `score` is the
    cosine with the words.
    """

    from_s: float
    to_s: float
    captured_at: float
    text: str
    score: float
