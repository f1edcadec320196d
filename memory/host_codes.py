"""HostCodes finds, among keys in host RAM, those that may be a query's best.

The keys of a layer vary in few directions. Their principal components that hold nearly all of the
variance are kept, and a key takes one of 16 levels in each. That is a product quantizer of 4 bits,
so FAISS scores keys in registers (IndexIVFPQFastScan, after André et al., "Quicker ADC", PAMI
2021). Of a key of the embedded model it reads 14 bytes instead of 512 in float32. Each part is an
inverted list, and a search reads all lists, because a question's queries lie near no cluster of
keys.
"""

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from memory.best_blocks import MIN_NORM, Similarity
from memory.key_pages import ENDLESS, Part, Rows

_HELD, _LOST, _LEAST = 0.94, 0.25, 1 / 16
"""Shares of the variance. Directions are chosen to hold at least _HELD of it. A later part, and
those after it, get directions of their own if the present ones would lose more than _LOST of its
variance, or if its variance is less than _LEAST of theirs.
"""
_LEVELS, _MIDDLE, _STEP = 16, 7.5, 0.45
"""_STEP is the distance between levels, in standard deviations. It is a little more than what would
lose least over all keys, because the best keys lie far out.
"""
_CHOSEN_BY, _SAMPLE = 8192, 64
"""How many rows choose the directions, and how many keys represent a part."""
_LIKELY = 20
"""How many candidates a search returns for each wanted key."""
_MOST_PARTS = 1 << 14
Keys = Float32[Tensor, "some features"]


class HostCodes:
    """Codes of full parts, made when a search first needs them."""

    def __init__(self) -> None:
        self._coded: dict[tuple[Similarity, int], _Coded] = {}
        """The indexes that hold the codes of a part, one per layer."""
        self._asked: tuple[tuple[object, ...], dict[_Coded, Rows], Rows] | None = None
        """The last search's span, the parts that lie in it whole, and the rows of other parts."""

    @property
    def num_bytes(self) -> int:
        return sum(layer.num_bytes for coded in set(self._coded.values()) for layer in coded)

    def forget(self, part: Part) -> None:
        """Drop the codes of a part whose keys have changed."""
        self._asked = None
        for similarity in get_args(Similarity):
            for layer in self._coded.pop((similarity, part.number), ()):
                layer.remove(part.number)

    def likely(
        self,
        parts: Sequence[Part],
        layer: int,
        query: Float32[Tensor, " features"],
        similarity: Similarity,
        first: int,
        below: int,
        wanted: int,
    ) -> Rows:
        """Return, in rising order, the rows of blocks with ids from `first` up to but not `below`
        that may be among the `wanted` best. Rows of a part that is not full, or not wholly within
        the span, are all returned, so later blocks do not change what is found. `query` has length
        1 for the cosine.
        """
        asked = similarity, first, below, len(parts)
        if self._asked is None or self._asked[0] != asked:
            self._asked = asked, *self._divided(parts, similarity, first, below)
        _, whole, rest = self._asked
        most = _LIKELY * wanted
        found = [coded[layer].search(query, numbers, most) for coded, numbers in whole.items()]
        if not found:
            return np.sort(rest)
        scores, rows = (np.concatenate(some) for some in zip(*found, strict=True))
        if len(rows) > most:
            rows = rows[np.argpartition(-scores, most)[:most]]
        return np.sort(np.concatenate((rest, rows[rows >= 0])))

    def _divided(
        self, parts: Sequence[Part], similarity: Similarity, first: int, below: int
    ) -> tuple[dict["_Coded", Rows], Rows]:
        whole: dict[_Coded, list[int]] = {}
        rest, coded = [np.empty(0, dtype=np.int64)], None
        for part in parts:
            if part.is_within(0, ENDLESS):
                coded = self._encoded(part, parts, similarity, coded)
            if coded is not None and part.is_within(first, below):
                whole.setdefault(coded, []).append(part.number)
            else:
                rest.append(part.rows(first, below))
        numbers = {coded: np.array(some) for coded, some in whole.items()}
        return numbers, np.concatenate(rest)

    def _encoded(
        self, part: Part, parts: Sequence[Part], similarity: Similarity, before: "_Coded | None"
    ) -> "_Coded":
        """Return the indexes that hold a part's codes: those of the part before it if they suit."""
        if (coded := self._coded.get((similarity, part.number))) is not None:
            return coded
        layers, keys = range(part.exact.shape[1]), _keys(part, similarity)
        if before is None:
            near = [one for one in parts if part.first <= one.first < part.first + _CHOSEN_BY]
            full = [_keys(one, similarity) for one in near if one.is_within(0, ENDLESS)]
            before = tuple(_Layer([some[:, layer] for some in full]) for layer in layers)
        some = keys[:: -(-len(keys) // _SAMPLE)]
        if not all(before[layer].suits(some[:, layer]) for layer in layers):
            before = tuple(_Layer([keys[:, layer]]) for layer in layers)
        for layer in layers:
            before[layer].add(part, keys[:, layer])
        self._coded[similarity, part.number] = before
        return before


class _Layer:
    """Parts of one layer that share directions and levels: a FAISS index with a list per part."""

    def __init__(self, parts: Sequence[Keys]) -> None:
        """Choose directions and levels for keys like those of `parts`."""
        self._centre = torch.cat(list(parts)).mean(dim=0)
        some = torch.cat([keys - keys.mean(dim=0) for keys in parts])
        covariances = some.T @ some / len(some)
        _, directions = torch.linalg.eigh(covariances + self._centre.outer(self._centre))
        directions = directions.flip(1)  # that of the mean first: a question may be much like it
        variances = (directions * (covariances @ directions)).sum(dim=0).clamp_min_(MIN_NORM)
        self._variance = variances.sum()
        held = variances.cumsum(dim=0) / self._variance
        width = min(int((held < _HELD).sum()) + 1, len(held))
        width += width % 2  # two levels to a byte
        steps, directions = _STEP * variances[:width].sqrt(), directions[:, :width]
        self._values, self._inverse = directions * steps, directions / steps
        """[features, width]: from levels to keys, and back."""
        self._index = _empty_index(width)

    @property
    def num_bytes(self) -> int:
        row_bytes = int(self._values.shape[1]) // 2 + np.dtype(np.int64).itemsize
        return row_bytes * int(self._index.ntotal)

    def suits(self, keys: Keys) -> bool:
        """Return whether directions and levels hold enough of these keys, and are not too wide."""
        held = (self._levels(keys).float() - _MIDDLE) @ self._values.T
        lost = (keys - self._centre - held).square().mean(dim=0).sum()
        variance = (keys - keys.mean(dim=0)).square().mean(dim=0).sum()
        return bool(lost < _LOST * variance and variance > _LEAST * self._variance)

    def add(self, part: Part, keys: Keys) -> None:
        two = self._levels(keys).numpy().view("<u2")
        codes = (two | two >> 4).astype(np.uint8)
        _add_list(self._index, part.number, codes, np.arange(part.first, part.end))

    def remove(self, number: int) -> None:
        self._index.ntotal -= self._index.invlists.list_size(number)
        self._index.invlists.resize(number, 0)

    def search(
        self, query: Float32[Tensor, " features"], numbers: Rows, most: int
    ) -> tuple[Float32[np.ndarray, " most"], Rows]:
        """Return nearly the largest inner products in some parts, and their rows; -1: no row."""
        self._index.nprobe = len(numbers)
        turned, near = (query @ self._values).numpy(), np.zeros((1, len(numbers)), np.float32)
        found = self._index.search_preassigned(turned[None], most, numbers[None], near)
        return found[0][0] + float(query @ self._centre), found[1][0]

    def _levels(self, keys: Keys) -> UInt8[Tensor, "some width"]:
        steps = ((keys - self._centre) @ self._inverse).add_(_MIDDLE)
        levels: Tensor = steps.round_().clamp_(0, _LEVELS - 1).to(torch.uint8)
        return levels


_Coded = tuple[_Layer, ...]


def _keys(part: Part, similarity: Similarity) -> Float32[Tensor, "rows layers features"]:
    keys = torch.from_numpy(part.exact)
    return keys / torch.from_numpy(part.norms)[:, :, None] if similarity == "cosine" else keys


def _empty_index(width: int) -> Any:
    import faiss  # takes a while, and short histories do without it

    kind = faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQFastScan(quantizer, width, _MOST_PARTS, width, 4, kind)
    index.referenced_objects = [quantizer]
    levels = np.tile(np.arange(_LEVELS, dtype=np.float32) - _MIDDLE, width)
    faiss.copy_array_to_vector(levels, index.pq.centroids)
    index.by_residual, index.is_trained = False, True
    return index


def _add_list(index: Any, number: int, codes: UInt8[np.ndarray, "rows bytes"], rows: Rows) -> None:
    """Add a list of codes, packed by an index made for that: FAISS packs them nowhere else."""
    import faiss

    flat = faiss.IndexPQ(index.d, index.d, 4, faiss.METRIC_INNER_PRODUCT)
    flat.pq, flat.is_trained = index.pq, True
    flat.add_sa_codes(codes)
    packed = faiss.IndexPQFastScan(flat)  # which must outlive the next line
    index.invlists.add_entries(number, len(rows), faiss.swig_ptr(rows), packed.codes.get())
    index.ntotal += len(rows)
