"""MemoryPolicy: decides what a new block sees, what a question reads, and what the store keeps.

A policy is one file in this folder with the policy's name, or a class of another package,
registered in the entry point group `vstream.policies`. Its card describes it, and it owns its
settings; neither needs torch. The engine calls the policy; the policy never calls the engine.
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
    """Base of a policy's settings. A subclass has one field per setting, with unit and bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Card:
    """A policy's description for people who choose one."""

    paper: str
    keeps: str
    """What it keeps of a stream and what a question reads, in one sentence."""
    differs: str = ""
    """Where it differs from the paper."""
    is_exact: bool = True
    """Within the budget, later frames change no earlier answer: nothing is evicted or merged."""
    takes_budget: bool = True
    """Whether it can work within a budget. A policy that cannot refuses one."""


@dataclass(frozen=True)
class ModelShape:
    """What a policy may know about the model, and the settings recommended for it."""

    frames_per_block: int = 1
    block_tokens: Callable[[], int] = lambda: 1
    """Count the tokens of a block. May be slow."""
    head_vector_bytes: int = 0
    """Bytes of one float32 vector per query head and layer; 0 if nobody needs byte counts."""
    rotary_axes: int = 1
    prefix_tokens: Callable[[], int] = lambda: 4
    """Count the tokens before the first block."""
    max_answer_tokens: int = 128
    window_frames: int = 64
    window_stride: int = 16
    recent_frames: int = 16
    retrieve_blocks: int = 64
    similarity: Similarity = "inner_product"
    sample_fps: float = 1.0
    """Frames sampled per second."""
    describe_prompt: str = ""
    """The prompt that asks the model to describe what it sees."""
    rotate: "Callable[[Tensor, Tensor], Tensor] | None" = None
    """Rotate keys [heads, tokens, head_dim] on the host by positions [axes, tokens], as the model
    does; None without a model.
    """
    sentence_vectors: "Callable[[Sequence[str]], np.ndarray] | None" = None
    """Unit vectors [sentences, features] for comparing texts; None if no encoder is installed."""
    text_vector: "Callable[[str], Tensor] | None" = None
    """A unit vector [features] to compare with picture vectors; None if the family has none."""

    def blocks(self, frames: int) -> int:
        """Return how many blocks hold that many frames."""
        return -(-frames // self.frames_per_block)


@dataclass(frozen=True)
class InfllmRule:
    """The numbers in InfLLM's attention rules; see `vstream.engine.infllm`."""

    window_tokens: int
    retrieve_blocks: int
    """Past blocks that a new block and a question read in each layer."""
    representatives: int
    """Tokens that represent a block."""

    def __str__(self) -> str:
        return f"infllm/{self.window_tokens}/{self.retrieve_blocks}/{self.representatives}"


@dataclass(frozen=True)
class Encoding:
    """How blocks are encoded. Streams that differ in it hold different blocks.

    A block sees the prefix and at most `window_blocks` blocks, itself included (0: all before it).
    The left edge of that window moves in steps of `stride_blocks`. `rekv_window_tokens` selects
    ReKV's own attention rules instead, `infllm` InfLLM's. `drop_similarity` drops visual tokens
    that did not change, but keeps one block in every `whole_every` whole.
    """

    window_blocks: int
    stride_blocks: int
    chunk_blocks: int | None = None
    """Most blocks per decoder call; None: as configured. Does not change the results."""
    rekv_window_tokens: int | None = None
    infllm: InfllmRule | None = None
    drop_similarity: float | None = None
    whole_every: int = 0
    sinks: int | None = None
    """How many of the prefix's first tokens stay once the window is full; None: all. The others are
    evicted before the first block is, one at a time, as if each were a block.
    """

    def __str__(self) -> str:
        """Return it as a stream's provenance states it."""
        window: object = f"{self.window_blocks}/{self.stride_blocks}"
        window = self.infllm or self.rekv_window_tokens or window
        if self.drop_similarity is None:
            return f"window={window}"
        return f"window={window} drop={self.drop_similarity:g}/{self.whole_every}"


class Past(Protocol):
    """The blocks that a question may retrieve: all it can see except the recent ones."""

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
        """Return the ids of the best blocks, in stream order; see `memory.BlockIndex.search`.

        `queries` is [layers, kv_heads*head_dim].
        """

    def search_by_head(self, layer: int, query: "Tensor", top_k: int) -> list[int]:
        """Like `search`, among the blocks with a vector per query head; all of them if `top_k` or
        fewer. `query` is [heads*head_dim].
        """

    def keys(self, block_ids: Sequence[int]) -> "Tensor":
        """Return representative keys, [layers, blocks, kv_heads*head_dim], in the order given."""


class MemoryPolicy:
    """Base of all policies. One instance serves one stream or one question."""

    name: ClassVar[str] = ""
    card: ClassVar[Card]
    Settings: ClassVar[type[PolicySettings]] = PolicySettings
    changes_store: ClassVar[bool] = False
    """Whether streams are written under it. Other policies only select from what is kept."""
    wants_mass: ClassVar[bool] = False
    """Whether `note` gets the attention mass that the window's tokens received. Costs as much again
    as attention itself. Not available under ReKV's or InfLLM's rules.
    """
    sees_beside: ClassVar[bool] = False
    """Whether a question about a moment also reads neighbouring blocks that look the same."""
    follows_times: ClassVar[bool] = True
    """Whether a question that names a moment may be restricted to that moment."""

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        """Raise PolicyError if the settings do not fit the model."""
        self.shape = shape
        self.settings: Any = settings

    @classmethod
    def read_settings(cls, settings: Mapping[str, Any]) -> PolicySettings:
        """Return its settings, validated. Raises PolicyError, naming the bad and the known ones."""
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
        """Return how a stream's blocks are encoded."""
        raise NotImplementedError

    def reducer(self) -> Reducer | None:
        """Return a Reducer for one stream, dropping visual tokens before the decoder, or None."""
        return None

    def recent_blocks(self) -> int | None:
        """Return how many of the newest blocks every question reads; None: all it may see."""
        raise NotImplementedError

    def retrieve_blocks(self) -> int:
        """Return how many older blocks a question reads per layer, at most."""
        return 0

    def first_pass(self) -> FirstPass:
        """Return which pass, if any, selects the blocks before the pass that answers.

        none      no pass: each layer selects when the answering pass reaches it
        question  each layer selects during a pass over the bare question
        context   `select_for_all` selects after a pass over the prefix and the recent blocks
        """
        return "none"

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        """Select the blocks of `past` that one layer reads, in stream order.

        `query` is [kv_heads*head_dim]: the mean query of the question's own words, before RoPE.
        Under InfLLM's rules it is [heads*head_dim]: that of the whole text, rotated to the window's
        edge.
        """
        return []

    def select_for_all(self, queries: "Tensor", past: Past) -> list[int]:
        """Select which blocks of `past` all layers read; `queries`: [layers, kv_heads*head_dim]."""
        raise NotImplementedError

    def prepare(self, text: str) -> None:
        """Compute ahead of `context` whatever is slow and needs only the question's words. Runs in
        the asker's thread. Also called once with no words, before any question.
        """

    def context(self, query: Query, state: State) -> Context:
        """Return what a question reads besides blocks."""
        return NOTHING

    def found(self, words: str, state: State) -> Sequence[FoundText]:
        """Return the texts among the notes, best match for the search words first."""
        return ()

    def wants_pictures(self) -> bool:
        """Return whether `note` gets the family's vector of each picture."""
        return False

    def select_by_words(self, query: Query, ids: Sequence[int], state: State) -> "list[int] | None":
        """Select before any pass which of the blocks `ids` all layers read, in stream order.

        None leaves the selection to `first_pass`.
        """
        return None

    def note(self, block: NewBlock, state: State) -> StateChange:
        """Return what to note with a block, given all notes before it.

        A note is kept if its block is, and survives a restart; see `memory.policy_hooks`.
        """
        return UNCHANGED

    def wishes(self, blocks: KeptBlocks, state: State) -> Sequence[Wish]:
        """Return what to ask the model about the kept blocks, oldest first.

        A wish waits until the device is idle. A wish that is no longer returned before it was
        granted is dropped.
        """
        return ()

    def index_vectors(
        self, keys: "Float[Tensor, 'layers kv_heads tokens head_dim']"
    ) -> "Float[Tensor, 'layers vectors kv_heads*head_dim']":
        """Return index vectors of a new block besides its mean key, as many for each block. A
        search scores a block by its best vector.
        """
        raise NotImplementedError

    def rewrite(self, old: "KVBlock", block_id: int, state: State) -> "KVBlock":
        """Rewrite a block that has left the windows: fewer tokens, other vectors. Called once per
        block, in runs of REWRITE_BLOCKS. Must keep the block's times and picture.
        """
        raise NotImplementedError

    def outlasting(self, keys: "Float[Tensor, 'layers blocks features']") -> Collection[int]:
        """Select which of REWRITE_BLOCKS neighbours survive their rewriting, by index.

        The others are evicted. `keys` are their representative keys, from before the rewriting.
        """
        raise NotImplementedError

    def rewritten_codec(self) -> str | None:
        """Return the codec of rewritten blocks; None: the codec of new ones."""
        return None

    def num_kept(self, num_tokens: int) -> int:
        """Return how many of a block's tokens stay when it is rewritten."""
        return num_tokens

    def kept_dialogue(self, dialogue: Dialogue) -> "Bool[Tensor, ' tokens']":
        """Return a mask of the dialogue tokens that a question reads."""
        raise NotImplementedError

    def coarser_since(self, state: State) -> float | None:
        """Return the stream time before which notes were merged or evicted; None if none were.

        What happened to blocks is tracked elsewhere.
        """
        return None

    def answered(self, wish: Wish, text: str | None, state: State) -> StateChange:
        """Return what to note of the model's answer; `text` is None if the wish was dropped.

        May be slow. The note must end the wish, so that it is not repeated.
        """
        return UNCHANGED

    def forgotten(self, state: State, from_s: float, to_s: float) -> StateChange:
        """Return the change to the notes when [from_s, to_s] is forgotten; here, delete all."""
        return dict.fromkeys(state)

    def expired(self, state: State, before_s: float) -> StateChange:
        """Return the change to the notes when a stream expires everything before `before_s`."""
        return UNCHANGED

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        """Estimate the bytes of notes for that many frames; see `vstream policies`.

        `token_bytes` is the size of a block's visual tokens in the decoder's dtype, `float_bytes`
        the size of their embeddings in float32.
        """
        return 0

    @classmethod
    def has(cls, hook: str) -> bool:
        """Return whether it overrides that method; if not, its inputs are never computed."""
        return getattr(cls, hook) is not getattr(MemoryPolicy, hook)

    def keep_blocks(self) -> int | None:
        """Return how many of the newest blocks are kept; None: as many as fit.

        The store evicts a few blocks at a time, so it may hold some more.
        """
        return None

    def age(self, spans: "Sequence[Span]", blocks: AgingBlocks) -> AgeingStep | None:
        """Choose what to make coarser, thin out or evict to make room. None: nothing can.

        `spans` are those that may change, oldest first. A policy that keeps only the newest blocks
        evicts the oldest span.
        """
        if self.keep_blocks() is not None:
            return AgeingStep(spans[0], ())
        return next_step(spans, blocks)

    def needed_blocks(self) -> int:
        """Return how many of the newest blocks must not change: the windows still need them."""
        return self.encoding().window_blocks + (self.recent_blocks() or 0)

    def provenance(self) -> str:
        """Return what a stream written under it records about that; see `written_under`."""
        if not self.changes_store:
            return str(self.encoding())
        settings = self.settings.model_dump(exclude_defaults=True)
        given = json.dumps(settings, separators=(",", ":"), sort_keys=True)
        return f"{self.encoding()} policy={self.name}{given}"

    @classmethod
    def require_readable(cls, written: "MemoryPolicy") -> None:
        """Raise PolicyError if a stream written under `written` cannot be asked under this one."""
        if cls.name != written.name and (cls.changes_store or written.changes_store):
            raise PolicyError(
                f"policy {cls.name}: the stream is written under {written.name}, and is asked "
                "under that"
            )
