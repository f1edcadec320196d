"""Notes: clusters and a bank of frames, as a policy notes them, and how they changed.

    facts          what is known of each cluster and of each banked frame, and the policy's own
                   numbers
    row/SLOT       a cluster's row, float32
    frame/SLOT     the tokens of a banked frame

Each keeps its own slot, so a new frame writes only its own tokens and the rows of clusters that
changed; the slots of evicted ones are overwritten.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import inf, nextafter

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from memory.flash.clusters import Clusters
from memory.kv_block import KVBlock
from memory.policy_hooks import UNCHANGED, State, StateChange, Tokens
from memory.token_bytes import KeptTokens, tokens_of, tokens_to_bytes

_OF_CLUSTERS = ("weights", "times", "first_s", "last_s", "frames", "slots")


@dataclass(frozen=True)
class Banked:
    number: int
    """Of its block."""
    slot: int
    start_s: float
    end_s: float


class Notes:
    """The notes, to read and change; `change` returns what became of them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._new: dict[str, bytes] = {}
        facts = load(state["facts"]) if state else {}
        self.clusters: Clusters | None = None
        if "weights" in facts:
            told = {name: facts.pop(name) for name in _OF_CLUSTERS}
            names = [f"row/{slot}" for slot in told["slots"].tolist()]
            rows = floats(b"".join(state[name] for name in names))
            rows = rows.view(len(names), *facts["grid"].prod()[None].tolist(), -1)
            is_new = torch.zeros(len(names), dtype=torch.bool)
            self.clusters = Clusters(rows, **told, is_new=is_new)
        bank = facts.pop("bank", torch.empty(0, 4)).tolist()
        self.bank = [Banked(int(number), int(slot), *times) for number, slot, *times in bank]
        """In stream order."""
        self.facts: dict[str, Tensor] = facts
        """The policy's own; `grid` is the grid of the rows."""

    def has_merged(self, until_s: float) -> None:
        """Record that frames up to there were merged or evicted."""
        before = self.facts.get("merged_s", torch.tensor(until_s))
        self.facts["merged_s"] = torch.tensor(max(until_s, float(before)), dtype=torch.double)

    def take(self, number: int, tokens: Tokens, most: int, needed: Collection[int] = ()) -> None:
        """Put a frame into a bank of at most `most`, evicting the oldest that is not `needed`."""
        if len(self.bank) >= most:
            gone = next(one for one in self.bank if one.number not in needed)
            self.bank.remove(gone)
            self.has_merged(gone.end_s)
        slot = min(set(range(most)) - {one.slot for one in self.bank})
        self.bank.append(Banked(number, slot, tokens.start_s, tokens.end_s))
        self._new[f"frame/{slot}"] = tokens_to_bytes(tokens)

    def tokens(self, frame: Banked) -> KeptTokens:
        """Return the tokens of a banked frame."""
        name = f"frame/{frame.slot}"
        return tokens_of(self._new.get(name) or self._state[name])

    def numbers(self, name: str) -> Float[Tensor, " numbers"]:
        """Return the numbers noted under that name; empty at first."""
        return floats(self._state[name]) if name in self._state else torch.empty(0)

    def put(self, name: str, tensor: Tensor) -> None:
        """Note float32 numbers of the policy's own."""
        self._new[name] = to_bytes(tensor)

    def change(self) -> StateChange:
        names = {f"frame/{one.slot}" for one in self.bank}
        facts = dict(self.facts)
        if self.clusters is not None and len(self.clusters):
            clusters = self.clusters.numbered()
            for at, slot in enumerate(clusters.slots.tolist()):
                names.add(f"row/{slot}")
                if clusters.is_new[at]:
                    self._new[f"row/{slot}"] = to_bytes(clusters.rows[at])
            facts.update({name: getattr(clusters, name) for name in _OF_CLUSTERS})
        told = [[one.number, one.slot, one.start_s, one.end_s] for one in self.bank]
        facts["bank"] = torch.tensor(told, dtype=torch.double).view(-1, 4)
        self._new["facts"] = save({name: one.contiguous() for name, one in facts.items()})
        gone = [one for one in self._state if "/" in one and one not in names]
        return {**dict.fromkeys(gone), **self._new}

    def without(self, from_s: float, to_s: float, others: Sequence[str] = ()) -> StateChange:
        """Return the change that removes everything from [`from_s`, `to_s`]: whole clusters that
        hold a frame of it, banked frames, and the policy's own notes and facts named in `others`.
        """
        if self.clusters is not None:
            stays = (self.clusters.last_s < from_s) | (self.clusters.first_s > to_s)
            self.clusters = self.clusters.at(stays)
        self.bank = [one for one in self.bank if one.end_s < from_s or one.start_s > to_s]
        for name in others:
            self.facts.pop(name, None)
        # Deleting a name makes a file store rewrite itself, without the old values.
        return {**self.change(), **dict.fromkeys(("forgotten", *others))}

    def expired(self, before_s: float, others: Sequence[str] = ()) -> StateChange:
        """Like `without`, for everything before `before_s`."""
        firsts = [one.end_s for one in self.bank]
        if self.clusters is not None:
            firsts += self.clusters.first_s.tolist()
        if min(firsts, default=before_s) >= before_s:
            return UNCHANGED
        return self.without(-inf, nextafter(before_s, -inf), others)


def merged_until_s(state: State) -> float | None:
    """Return the time up to which frames were merged or evicted."""
    facts = load(state["facts"]) if state else {}
    return float(facts["merged_s"]) if "merged_s" in facts else None


def for_its_picture(block: KVBlock) -> KVBlock:
    """Cut a block that is kept only for its picture to one token; searches find it as before."""
    info = replace(block.info, positions=block.info.positions[:, :1])
    return replace(block, info=info, keys=block.keys[:, :, :1], values=block.values[:, :, :1])


def to_bytes(tensor: Tensor) -> bytes:
    return tensor.float().contiguous().numpy().tobytes()


def floats(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.float32)
