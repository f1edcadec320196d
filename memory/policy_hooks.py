"""What a memory policy is given and notes of a stream, and what it may ask of the model.

Notes are bytes by name, kept beside the blocks in every tier. A note is stored together with a
block: never without it, even if the process dies. It outlives the block.
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
"""Notes to add, or to replace those of the same name; None deletes one."""
UNCHANGED: StateChange = {}


def changed(state: State, change: StateChange) -> dict[str, bytes]:
    """Return the state after a change."""
    merged = {**state, **change}
    return {name: value for name, value in merged.items() if value is not None}


def state_bytes(state: State) -> int:
    """Bytes of names and values."""
    return sum(len(name.encode()) + len(value) for name, value in state.items())


class Tokens(Protocol):
    """The decoder's input for one block; the fields are those of `encoders.VisualTokens`."""

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
    """Drops or merges visual tokens of one stream before the decoder."""

    def drop(self, chunk: Sequence[Tokens]) -> list[Tokens]:
        """Return the stream's next blocks, at least one token each, whatever the chunk size."""

    def forget(self) -> None:
        """Compare the next block with nothing: the last one did not join the stream."""


@dataclass(frozen=True, eq=False)
class NewBlock:
    """A block that is about to be stored."""

    block_id: int
    tokens: Tokens
    """As they went into the decoder."""
    mass: "Mapping[int, Float[Tensor, 'layers kv_heads tokens']]"
    """By block id, for the window's blocks including this one: the attention each token got from
    this block's queries, summed over queries and over a group's heads. Empty unless wanted.
    """
    picture: "Float[Tensor, ' dim'] | None" = None
    """The family's unit vector of its picture. None unless wanted."""
    oldest_id: int = 0
    """The id of the oldest kept block."""


class KeptBlocks(Protocol):
    """What is known of the kept blocks."""

    @property
    def newest_s(self) -> float:
        """Stream time of the newest block's end; 0 without blocks."""

    def visible(self, at_s: float | None, from_s: float | None = None) -> list[int]:
        """Return the ids of blocks that ended by `at_s`, and with `from_s` not before that."""

    def info(self, block_id: int) -> "BlockInfo": ...


@dataclass(frozen=True)
class Wish:
    """A question that the policy itself asks, about what was visible at `at_s`.

    With `from_s` it reads all blocks from then on, otherwise the recent window.
    """

    text: str
    at_s: float
    from_s: float | None = None


@dataclass(frozen=True)
class Query:
    """A question for which a policy must return the context."""

    text: str
    at_s: float
    """Stream time: the question sees what ended by then,"""
    from_s: float | None = None
    """and nothing from before this."""


@dataclass(frozen=True)
class Passage:
    """A text that a question reads: as a dialogue turn, or as a sentence without a dialogue."""

    question: str
    answer: str
    sentence: str


@dataclass(frozen=True, eq=False)
class Dialogue:
    """The tokens of a question's dialogue, and the model's losses on them."""

    turns: "Int[Tensor, ' tokens']"
    """The number of each token's turn, ascending."""
    surprise: "Float[Tensor, ' tokens']"
    """-log p(token | text before it)."""
    repeat: "Float[Tensor, ' tokens']"
    """-log p(the same token once more | text up to it)."""


@dataclass(frozen=True, eq=False)
class Context:
    """What a question reads besides blocks.

    Laid out as [prefix | visual tokens | blocks | passages | dialogue | question].
    """

    tokens: Sequence[Tokens] = ()
    """Visual tokens, block by block, which the decoder reads again."""
    block_ids: Sequence[int] = ()
    """The blocks they show, for the answer's evidence."""
    passages: Sequence[Passage] = ()
    text_from: int | None = None
    """If no blocks are read: how many positions after the prefix the text starts, wherever the
    visual tokens stand; None: after the last position.
    """


NOTHING = Context()


@dataclass(frozen=True)
class FoundText:
    """A text that a search found in the notes, about `from_s` to `to_s` in stream time.

    `captured_at` is the wall-clock time of its newest frame, in seconds since 1970; `score` is its
    cosine with the search words.
    """

    from_s: float
    to_s: float
    captured_at: float
    text: str
    score: float
