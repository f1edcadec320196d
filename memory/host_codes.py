"""HostCodes: pages of keys in host RAM in; for a query, the rows of those that may be the best out.

The keys of a layer vary in few directions: their principal components, of which as many count as
hold nearly all of the variance. In each of them a key takes one of 16 levels, evenly spaced as is
best for normally distributed numbers (Max, "Quantizing for minimum distortion", IRE Trans. on
Information Theory, 1960). That is a product quantizer of 4 bits, so FAISS scores keys in registers
(IndexIVFPQFastScan, after André et al., "Quicker ADC", PAMI 2021) and reads some 20 bytes of a key
of the embedded model, which has 512 in float32. Its inverted lists are the pages: no part of the
past is left out, as a question's queries lie near no cluster of keys (docs/performance.md).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from memory.best_blocks import MIN_NORM, Similarity
from memory.index_page import IndexPage

_HELD, _LOST = 0.96, 0.15
"""Of the variance: what the directions hold at least as they are chosen, and what they and the
levels may lose of a later page before others are chosen for it and those after it.
"""
_LEVELS, _MIDDLE, _STEP = 16, 7.5, 0.3352
"""The last is the distance of two levels, in standard deviations."""
_BASIS, _SAMPLE, _PART = 8192, 256, 256
"""So many keys choose directions, and so many of a page stand for it; so many are encoded together,
as a processor's cache holds.
"""
_LIKELY = 32
"""So many times the keys that are wanted may be the best."""
_MOST_PAGES = 1 << 12


class HostCodes:
    """Of pages that are full. Made when a search first needs them, kept until the page changes."""

    def __init__(self) -> None:
        self._lists: list[_Lists] = []
        self._asked: _Asked | None = None

    @property
    def num_bytes(self) -> int:
        return sum(one.num_bytes for one in self._lists)

    def change(self, page: IndexPage) -> None:
        """Some of its keys are others now, or gone."""
        self._asked = None
        for one in self._lists:
            one.remove(page)
        self._lists = [one for one in self._lists if one.numbers]

    def likely(
        self,
        pages: Sequence[IndexPage],
        ids: Int64[np.ndarray, " rows"],
        span: tuple[int, int, Similarity],
        layer: int,
        query: Float32[Tensor, " features"],
        wanted: int,
    ) -> Int64[np.ndarray, " likely"]:
        """Rows, rising, of those blocks that may be the `wanted` best of a span: ids from the first
        number up to the second. `ids` has the block of each row, or -1.

        All rows are likely of a page that is not full, or of which a part is asked for. So what is
        found is the same whatever comes later. `query` is of length 1 for the cosine.
        """
        if self._asked is None or self._asked.span != span:
            self._asked = self._look_up(pages, ids, span)
        most = _LIKELY * wanted
        found = [one.search(layer, query, firsts, most) for one, firsts in self._asked.coded]
        scores = np.concatenate([np.empty(0, np.float32), *(one for one, _ in found)])
        rows = np.concatenate([np.empty(0, np.int64), *(one for _, one in found)])
        if len(rows) > most:
            rows = rows[np.argpartition(-scores, most)[:most]]
        return np.sort(np.concatenate((self._asked.rest, rows[rows >= 0])))

    def _look_up(
        self,
        pages: Sequence[IndexPage],
        ids: Int64[np.ndarray, " rows"],
        span: tuple[int, int, Similarity],
    ) -> "_Asked":
        first, below, similarity = span
        coded: dict[_Lists, list[int]] = {}
        rest, lists = [np.empty(0, np.int64)], None
        for page in pages:
            of_page = ids[page.first : page.end]
            is_in = (of_page >= first) & (of_page < below)
            if page.is_full:
                lists = self._encoded(page, pages, similarity, lists)
            if lists is not None and is_in.all():
                coded.setdefault(lists, []).append(page.first)
            else:
                rest.append(page.first + np.flatnonzero(is_in))
        return _Asked(span, list(coded.items()), np.concatenate(rest))

    def _encoded(
        self,
        page: IndexPage,
        pages: Sequence[IndexPage],
        similarity: Similarity,
        before: "_Lists | None",
    ) -> "_Lists":
        """Where the page has codes: beside the page before it where directions and levels suit."""
        for one in self._lists:
            if one.similarity == similarity and page.first in one.numbers:
                return one
        sample = _keys(page, similarity, slice(None, None, -(-len(page.exact) // _SAMPLE)))
        if before is None or before.loses(sample):
            full = [one for one in pages if one.is_full and one.first >= page.first]
            some = [one for one in full if one.end - page.first <= max(_BASIS, len(page.exact))]
            keys = torch.cat([_keys(one, similarity, slice(None)) for one in some])
            before = _Lists(similarity, keys)
            self._lists.append(before)
        before.add(page)
        return before


class _Lists:
    """Pages in the same directions and levels: in a FAISS index of each layer, a list of each."""

    def __init__(
        self, similarity: Similarity, keys: Float32[Tensor, "some layers features"]
    ) -> None:
        self.similarity = similarity
        self._centre = keys.mean(dim=0)
        some = (keys - self._centre).transpose(0, 1)
        variances, directions = torch.linalg.eigh(some.mT @ some / len(keys))
        variances, directions = variances.flip(1).clamp_min(MIN_NORM), directions.flip(2)
        held = variances.cumsum(dim=1) / variances.sum(dim=1, keepdim=True)
        width = min(int((held < _HELD).sum(dim=1).max()) + 1, keys.shape[2])
        width += width % 2  # two levels to a byte
        steps = _STEP * variances[:, None, :width].sqrt()
        self._values, self._inverse = directions[..., :width] * steps, directions[..., :width] / steps
        """[layers, features, width]: what a step in a direction is worth, and the reverse."""
        self._indexes = [_empty_index(width) for _ in steps]
        self.numbers: dict[int, int] = {}
        """Of the list of each page, by its first row."""
        self._spare = list(range(_MOST_PAGES))
        self.num_bytes = 0

    def loses(self, keys: Float32[Tensor, "some layers features"]) -> bool:
        """Whether directions and levels tell too little of these keys."""
        told = (self._levels(keys).float() - _MIDDLE) @ self._values.mT
        lost = keys - self._centre - told.transpose(0, 1)
        spread = keys - keys.mean(dim=0)
        return bool((lost.square().sum((0, 2)) > _LOST * spread.square().sum((0, 2))).any())

    def add(self, page: IndexPage) -> None:
        rows, number = len(page.exact), self._spare.pop()
        codes = np.empty((len(self._indexes), rows, self._values.shape[2] // 2), dtype=np.uint8)
        for start in range(0, rows, _PART):
            part = slice(start, start + _PART)
            two = self._levels(_keys(page, self.similarity, part)).numpy().view("<u2")
            codes[:, part] = two | two >> 4
        ids = np.arange(page.first, page.end)
        for index, of_layer in zip(self._indexes, codes, strict=True):
            _add_list(index, number, of_layer, ids)
        self.numbers[page.first] = number
        self.num_bytes += codes.nbytes + len(codes) * ids.nbytes

    def remove(self, page: IndexPage) -> None:
        """If it is there."""
        if (number := self.numbers.pop(page.first, None)) is None:
            return
        for index in self._indexes:
            index.invlists.resize(number, 0)
            index.ntotal -= len(page.exact)
        self._spare.append(number)
        row_bytes = self._values.shape[2] // 2 + np.dtype(np.int64).itemsize
        self.num_bytes -= len(self._indexes) * len(page.exact) * row_bytes

    def search(
        self, layer: int, query: Float32[Tensor, " features"], firsts: Sequence[int], most: int
    ) -> tuple[Float32[np.ndarray, " most"], Int64[np.ndarray, " most"]]:
        """About the largest inner products in some pages, and their rows; -1 where none is left."""
        index = self._indexes[layer]
        index.nprobe = len(firsts)
        numbers = np.array([[self.numbers[first] for first in firsts]])
        turned = (query @ self._values[layer])[None].numpy()
        [scores], [rows] = index.search_preassigned(
            turned, most, numbers, np.zeros(numbers.shape, np.float32)
        )
        return scores + float(query @ self._centre[layer]), rows

    def _levels(
        self, keys: Float32[Tensor, "some layers features"]
    ) -> UInt8[Tensor, "layers some width"]:
        steps = ((keys - self._centre).transpose(0, 1) @ self._inverse).add_(_MIDDLE)
        return steps.round_().clamp_(0, _LEVELS - 1).to(torch.uint8)


class _Asked(NamedTuple):
    """Where one question looks, in every layer."""

    span: tuple[int, int, Similarity]
    coded: list[tuple[_Lists, list[int]]]
    """With the first rows of pages."""
    rest: Int64[np.ndarray, " rows"]


def _keys(
    page: IndexPage, similarity: Similarity, rows: slice
) -> Float32[Tensor, "some layers features"]:
    keys = torch.from_numpy(page.exact[rows])
    return keys / torch.from_numpy(page.norms[rows])[:, :, None] if similarity == "cosine" else keys


def _empty_index(width: int) -> Any:
    import faiss  # takes a while, and short histories need it not

    lists = faiss.IndexFlatIP(width)
    kind = faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexIVFPQFastScan(lists, width, _MOST_PAGES, width, 4, kind)
    levels = np.tile(np.arange(_LEVELS, dtype=np.float32) - _MIDDLE, width)
    faiss.copy_array_to_vector(levels, index.pq.centroids)
    index.referenced_objects = [lists]
    index.by_residual, index.is_trained = False, True
    return index


def _add_list(
    index: Any, number: int, codes: UInt8[np.ndarray, "rows bytes"], ids: Int64[np.ndarray, " rows"]
) -> None:
    """Into a list that is empty. FAISS packs codes only as it makes an index of them."""
    import faiss

    width = index.d
    flat = faiss.IndexPQ(width, width, 4, faiss.METRIC_INNER_PRODUCT)
    flat.pq, flat.is_trained = index.pq, True
    flat.add_sa_codes(codes)
    packed = faiss.IndexPQFastScan(flat)
    index.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), packed.codes.get())
    index.ntotal += len(ids)
