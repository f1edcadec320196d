"""MemoryPolicy: decides what a new block sees, what a question reads, and what stays in the store.

A policy is one file in this folder, called as the policy is, or a class of another package under
the entry point group `vstream.policies`. It says what it is on its card and owns its settings;
neither needs torch. The engine asks it; it never calls the engine.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from memory.ageing import AgeingStep, AgingBlocks, next_step
from memory.errors import PolicyError
from memory.policy_hooks import (
    NOTHING,
    UNCHANGED,
    Context,
    Dialogue,
    FoundText,
    KeptBlocks,
    NewBlock,
    Query,
    Reducer,
    State,
    StateChange,
    Wish,
)

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Bool, Float
    from torch import Tensor

    from memory.block_store import Span
    from memory.kv_block import KVBlock

Similarity = Literal["inner_product", "cosine"]
FirstPass = Literal["none", "question", "context"]


class PolicySettings(BaseModel):
    """What a policy can be told. A subclass has a field a setting, with its unit and bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Card:
    """What a policy is, for people who choose one."""

    paper: str
    keeps: str
    """What it keeps of a stream and what a question reads, in a sentence."""
    differs: str = ""
    """Where it differs from the paper."""
    is_exact: bool = True
    """Within the budget later frames never change an earlier answer: nothing goes or is merged."""
    takes_budget: bool = True
    """It can do with less than all that it would keep. One that cannot refuses a budget."""


@dataclass(frozen=True)
class ModelShape:
    """What a policy may know of the model, and what is recommended for it."""

    frames_per_block: int = 1
    block_tokens: Callable[[], int] = lambda: 1
    """Counts the tokens of a block. It may take a moment."""
    head_vector_bytes: int = 0
    """Of a float32 vector for each query head and layer; 0 where nobody asks for bytes."""
    rotary_axes: int = 1
    prefix_tokens: Callable[[], int] = lambda: 4
    """Counts those that stand before the first block."""
    max_answer_tokens: int = 128
    window_frames: int = 64
    window_stride: int = 16
    recent_frames: int = 16
    retrieve_blocks: int = 64
    similarity: Similarity = "inner_product"
    sample_fps: float = 1.0
    """Frames that are taken of a second."""
    describe_prompt: str = ""
    """What the model is asked for a description of what it sees."""
    rotate: "Callable[[Tensor, Tensor], Tensor] | None" = None
    """Turns keys, [heads, tokens, head_dim] on the host, by positions, [axes, tokens], as the model
    does; None: there is no model.
    """
    sentence_vectors: "Callable[[Sequence[str]], np.ndarray] | None" = None
    """Unit vectors, [sentences, features], by which texts are compared; None: not installed."""
    text_vector: "Callable[[str], Tensor] | None" = None
    """A unit vector, [features], to compare with those of pictures; None: the family has none."""

    def blocks(self, frames: int) -> int:
        """How many blocks hold so many frames."""
        return -(-frames // self.frames_per_block)


@dataclass(frozen=True)
class InfllmRule:
    """InfLLM's attention rules in numbers; see `vstream.engine.infllm`."""

    window_tokens: int
    retrieve_blocks: int
    """Past blocks that a new block and a question read in each layer."""
    representatives: int
    """Tokens that stand for a block."""

    def __str__(self) -> str:
        return f"infllm/{self.window_tokens}/{self.retrieve_blocks}/{self.representatives}"


@dataclass(frozen=True)
class Encoding:
    """How blocks come to be. Streams that differ in it hold different blocks.

    A block sees the prefix and at most `window_blocks` blocks with itself (0: all before it); the
    left edge of that window moves in steps of `stride_blocks`. With `rekv_window_tokens` ReKV's own
    attention rules hold instead, with `infllm` InfLLM's. `drop_similarity` leaves visual tokens out
    that stood still, but for one whole block in `whole_every`.
    """

    window_blocks: int
    stride_blocks: int
    chunk_blocks: int | None = None
    """Most blocks in one call of the decoder; None: as configured. Changes no number."""
    rekv_window_tokens: int | None = None
    infllm: InfllmRule | None = None
    drop_similarity: float | None = None
    whole_every: int = 0
    sinks: int | None = None
    """So many first tokens of the prefix stay once the window is full; None: all. The others leave
    before the first block does, each as if it were a block.
    """

    def __str__(self) -> str:
        """As it stands in the provenance of a stream."""
        window: object = f"{self.window_blocks}/{self.stride_blocks}"
        window = self.infllm or self.rekv_window_tokens or window
        if self.drop_similarity is None:
            return f"window={window}"
        return f"window={window} drop={self.drop_similarity:g}/{self.whole_every}"


class Past(Protocol):
    """The blocks that a question may retrieve: all that it sees but the recent ones."""

    @property
    def ids(self) -> Sequence[int]:
        """In stream order."""

    def search(
        self,
        layers: Sequence[int],
        queries: "Tensor",
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
    ) -> list[int]:
        """Ids of the best, in stream order; see `memory.BlockIndex.search`.

        `queries` is [layers, kv_heads*head_dim].
        """

    def search_by_head(self, layer: int, query: "Tensor", top_k: int) -> list[int]:
        """As `search`, of the blocks that have a vector for each query head, all of them if there
        are no more; `query` is [heads*head_dim].
        """

    def keys(self, block_ids: Sequence[int]) -> "Tensor":
        """Representative keys, [layers, blocks, kv_heads*head_dim], in the order given."""


class MemoryPolicy:
    """Base of all policies. One instance serves one stream, or one question."""

    name: ClassVar[str] = ""
    card: ClassVar[Card]
    Settings: ClassVar[type[PolicySettings]] = PolicySettings
    changes_store: ClassVar[bool] = False
    """A stream is written under it and follows it; others only choose from what is there."""
    wants_mass: ClassVar[bool] = False
    """`note` is given the attention mass that the window's tokens received; it costs as much again
    as attention does. Not with ReKV's rules.
    """
    sees_beside: ClassVar[bool] = False
    """Whether a question about a moment reads the blocks beside it that look the same, too."""
    follows_times: ClassVar[bool] = True
    """A question that names a moment may see that alone."""

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        """Raises PolicyError for settings that do not fit the model."""
        self.shape = shape
        self.settings: Any = settings

    @classmethod
    def told(cls, settings: Mapping[str, Any]) -> PolicySettings:
        """Its settings, checked. Raises PolicyError naming a bad one and those that there are."""
        try:
            return cls.Settings(**settings)
        except ValidationError as error:
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"]) or "settings"
            known = ", ".join(cls.Settings.model_fields) or "none"
            raise PolicyError(
                f"policy {cls.name}: {name}: {problem['msg']} (got {problem['input']!r}); "
                f"its settings: {known}"
            ) from error

    def encoding(self) -> Encoding:
        """How the blocks of a stream are made."""
        raise NotImplementedError

    def reducer(self) -> Reducer | None:
        """What leaves visual tokens out before the decoder, made for one stream; None: nothing."""
        return None

    def recent_blocks(self) -> int | None:
        """How many of the newest blocks every question reads; None: all that it may see."""
        raise NotImplementedError

    def retrieve_blocks(self) -> int:
        """How many older blocks a layer of a question reads at most."""
        return 0

    def first_pass(self) -> FirstPass:
        """What tells which blocks are read, before the pass that answers.

        none      nothing: each layer selects as it is reached
        question  each layer selects in a pass of the bare question
        context   `select_for_all` selects after a pass over prefix and recent blocks
        """
        return "none"

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        """Which of `past` a layer reads, in stream order.

        `query` is [kv_heads*head_dim]: the mean query of the question's own words, before RoPE. By
        InfLLM's rules it is [heads*head_dim]: that of the whole text, rotated to the window's edge.
        """
        return []

    def select_for_all(self, queries: "Tensor", past: Past) -> list[int]:
        """Which of `past` all layers read; `queries` is [layers, kv_heads*head_dim]."""
        raise NotImplementedError

    def prepare(self, text: str) -> None:
        """Compute now what `context` needs of a question's words alone, if it takes long: in the
        thread of who asks. Once with no words, before any question.
        """

    def context(self, query: Query, state: State) -> Context:
        """What a question reads besides blocks."""
        return NOTHING

    def found(self, words: str, state: State) -> Sequence[FoundText]:
        """The texts among its notes, those most like the words of a search first."""
        return ()

    def wants_pictures(self) -> bool:
        """Whether `note` is given the vectors that the family makes of pictures."""
        return False

    def select_by_words(self, query: Query, ids: Sequence[int], state: State) -> "list[int] | None":
        """Which of the blocks `ids` all layers read, in stream order, before any pass.

        None: `first_pass` tells.
        """
        return None

    def note(self, block: NewBlock, state: State) -> StateChange:
        """What is noted with a block, given all that was noted before it.

        It is kept if the block is, and given back after a restart; see `memory.policy_hooks`.
        """
        return UNCHANGED

    def wishes(self, blocks: KeptBlocks, state: State) -> Sequence[Wish]:
        """What the model is to be asked, oldest first, about the blocks that are there.

        A wish waits until the device has nothing else to do; one that is no longer wished for
        before it was granted is given up.
        """
        return ()

    def index_vectors(
        self, keys: "Float[Tensor, 'layers kv_heads tokens head_dim']"
    ) -> "Float[Tensor, 'layers vectors kv_heads*head_dim']":
        """Index vectors of a new block in addition to the mean of its keys, the same number for
        each. A search takes the best of a block's vectors.
        """
        raise NotImplementedError

    def rewrite(self, old: "KVBlock", block_id: int, state: State) -> "KVBlock":
        """A block that has left the windows, as it is kept from now on: fewer tokens, other
        vectors. Once for each, in runs of REWRITE_BLOCKS. Its times and picture must stay.
        """
        raise NotImplementedError

    def outlasting(self, keys: "Float[Tensor, 'layers blocks features']") -> Collection[int]:
        """Which of REWRITE_BLOCKS neighbours, by their places, stay where they are rewritten; the
        others go. `keys` are their representative keys, as the blocks came.
        """
        raise NotImplementedError

    def rewritten_codec(self) -> str | None:
        """The codec of blocks that were rewritten; None: that of the stream's new ones."""
        return None

    def num_kept(self, num_tokens: int) -> int:
        """So many of the tokens of a block stay once it has been rewritten."""
        return num_tokens

    def kept_dialogue(self, dialogue: Dialogue) -> "Bool[Tensor, ' tokens']":
        """Which tokens of the dialogue a question reads."""
        raise NotImplementedError

    def coarser_since(self, state: State) -> float | None:
        """The stream time before which what is noted was merged or let go; None: nothing was.

        What became of blocks is known without it.
        """
        return None

    def answered(self, wish: Wish, text: str | None, state: State) -> StateChange:
        """What is noted of the model's answer; None: the wish was given up.

        It may take its time, and must not be repeated: what is noted ends the wish.
        """
        return UNCHANGED

    def forgotten(self, state: State, from_s: float, to_s: float) -> StateChange:
        """What is noted where [from_s, to_s] is forgotten for good; here all of it goes."""
        return dict.fromkeys(state)

    def expired(self, state: State, before_s: float) -> StateChange:
        """What is noted where a stream is remembered from `before_s` on, and not longer."""
        return UNCHANGED

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        """About how much is noted of so many frames; see `vstream policies`.

        `token_bytes` are those of a block's visual tokens as the decoder is given them,
        `float_bytes` those of their embeddings in float32.
        """
        return 0

    @classmethod
    def has(cls, hook: str) -> bool:
        """Whether it overrides that method. What only others need is then never computed."""
        return getattr(cls, hook) is not getattr(MemoryPolicy, hook)

    def keep_blocks(self) -> int | None:
        """So many of the newest blocks are kept and no others; None: as many as there is room for.

        The store lets old blocks go a few at a time, so there may be some more.
        """
        return None

    def age(self, spans: "Sequence[Span]", blocks: AgingBlocks) -> AgeingStep | None:
        """What gets coarser, thinner or goes so that there is room. None: nothing can.

        `spans` are those that may change, oldest first. Where only the newest blocks are kept, the
        oldest span goes.
        """
        if self.keep_blocks() is not None:
            return AgeingStep(spans[0], ())
        return next_step(spans, blocks)

    def needed_blocks(self) -> int:
        """So many of the newest blocks must stay as they are: what windows still need."""
        return self.encoding().window_blocks + (self.recent_blocks() or 0)

    def provenance(self) -> str:
        """What a stream that is written under it says of that; see `written_under`."""
        if not self.changes_store:
            return str(self.encoding())
        settings = self.settings.model_dump(exclude_defaults=True)
        told = json.dumps(settings, separators=(",", ":"), sort_keys=True)
        return f"{self.encoding()} policy={self.name}{told}"

    @classmethod
    def require_readable(cls, written: "MemoryPolicy") -> None:
        """Raises PolicyError if no question can be asked under it of a stream of `written`."""
        if cls.name != written.name and (cls.changes_store or written.changes_store):
            raise PolicyError(
                f"policy {cls.name}: the stream is written under {written.name}, and is asked "
                "under that"
            )
