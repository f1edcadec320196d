"""HostCodes: pages of keys in host RAM in; for a query, the rows of those that may be the best out.

The keys of a layer vary in few directions: their principal components, of which as many count as
hold nearly all of the variance. In each of them a key takes one of 16 levels. That is a product
quantizer of 4 bits, so FAISS scores keys in registers (IndexIVFPQFastScan, after André et al.,
"Quicker ADC", PAMI 2021) and reads some 20 bytes of a key of the embedded model, which has 512 in
float32. Its inverted lists are the pages, all of which are read: a question's queries lie near no
cluster of keys (docs/performance.md).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from memory.best_blocks import MIN_NORM, Similarity
from memory.key_pages import ENDLESS, PAGE_ROWS, Page, Rows

_HELD, _LOST, _LEAST = 0.96, 0.15, 1 / 16
"""Of the variance: what the directions hold at least as they are chosen; what they and the levels
may lose of a later page, and how much it may be smaller, before it and those after it get others.
"""
_LEVELS, _MIDDLE, _STEP = 16, 7.5, 0.4
"""The last is the distance of two levels, in standard deviations: a little more than loses least of
all keys, as the best ones lie far out.
"""
_SAMPLE, _PART = 256, 256
"""So many keys stand for a page; so many are encoded together, as a processor's cache holds."""
_LIKELY = 24
"""So many times the keys that are wanted may be the best."""
_MOST_PAGES = 1 << 12
Keys = Float32[Tensor, "some layers features"]


class HostCodes:
    """Of pages that are full, made when a search first needs them."""

    def __init__(self) -> None:
        self._lists: dict[tuple[Similarity, int], _Lists] = {}
        """Where the codes of a page are."""

    @property
    def num_bytes(self) -> int:
        return sum(lists.num_bytes for lists in set(self._lists.values()))

    def forget(self, page: Page) -> None:
        """It holds other keys now, or free rows."""
        for key in [key for key in self._lists if key[1] == page.number]:
            self._lists.pop(key).remove(page.number)

    def likely(
        self,
        pages: Sequence[Page],
        layer: int,
        query: Float32[Tensor, " features"],
        similarity: Similarity,
        first: int,
        below: int,
        wanted: int,
    ) -> Rows:
        """Rows, rising, of the blocks from id `first` up to `below` that may be the `wanted` best.

        All are likely in a page that is not full, or of which a part is asked for. So what is found
        is the same whatever comes later. `query` is of length 1 for the cosine.
        """
        coded: dict[_Lists, list[int]] = {}
        rest, lists = [np.empty(0, dtype=np.int64)], None
        for page in pages:
            if page.is_within(0, ENDLESS):
                lists = self._encoded(page, pages, similarity, lists)
            if lists is not None and page.is_within(first, below):
                coded.setdefault(lists, []).append(page.number)
            else:
                rest.append(page.rows(first, below))
        most = _LIKELY * wanted
        found = [lists.search(layer, query, numbers, most) for lists, numbers in coded.items()]
        rows = np.concatenate([rest[0], *(of_lists for _, of_lists in found)])
        if len(rows) > most:
            scores = np.concatenate([of_lists for of_lists, _ in found])
            rows = rows[np.argpartition(-scores, most)[:most]]
        return np.sort(np.concatenate((*rest, rows[rows >= 0])))

    def _encoded(
        self, page: Page, pages: Sequence[Page], similarity: Similarity, before: "_Lists | None"
    ) -> "_Lists":
        """Where the codes of a page are: beside those of the page before it if these suit."""
        lists = self._lists.get((similarity, page.number))
        if lists is None:
            sample = _keys(page, similarity, slice(None, None, -(-len(page.ids) // _SAMPLE)))
            if before is None:
                some = [one for one in pages if page.first <= one.first < page.first + PAGE_ROWS]
                full = [one for one in some if one.is_within(0, ENDLESS)]
                before = _Lists(similarity, [_keys(one, similarity, slice(None)) for one in full])
            if not before.suits(sample):
                before = _Lists(similarity, [_keys(page, similarity, slice(None))])
            before.add(page)
            lists = self._lists[similarity, page.number] = before
        return lists


class _Lists:
    """Pages in the same directions and levels: in a FAISS index of each layer, a list of each."""

    def __init__(self, similarity: Similarity, pages: Sequence[Keys]) -> None:
        """For keys like those of these pages."""
        self._similarity, self._centre = similarity, torch.cat(list(pages)).mean(dim=0)
        some = torch.cat([keys - keys.mean(dim=0) for keys in pages]).transpose(0, 1)
        covariances, along = some.mT @ some / some.shape[1], self._centre[:, :, None]
        _, directions = torch.linalg.eigh(covariances + along @ along.mT)
        directions = directions.flip(2)  # that of the mean first: a question may be much like it
        variances = (directions * (covariances @ directions)).sum(dim=1).clamp_min_(MIN_NORM)
        self._variance = variances.sum(dim=1)
        held = variances.cumsum(dim=1) / self._variance[:, None]
        width = min(int((held < _HELD).sum(dim=1).max()) + 1, held.shape[1])
        width += width % 2  # two levels to a byte
        steps, directions = _STEP * variances[:, None, :width].sqrt(), directions[..., :width]
        self._values, self._inverse = directions * steps, directions / steps
        """[layers, features, width]: what a step in a direction is worth, and the reverse."""
        self._indexes = [_empty_index(width) for _ in steps]

    @property
    def num_bytes(self) -> int:
        row_bytes = int(self._values.shape[2]) // 2 + np.dtype(np.int64).itemsize
        return row_bytes * sum(int(index.ntotal) for index in self._indexes)

    def suits(self, keys: Keys) -> bool:
        """Whether directions and levels tell enough of these keys, and are no wider than needed."""
        told = (self._levels(keys).float() - _MIDDLE) @ self._values.mT
        lost = (keys - self._centre - told.transpose(0, 1)).square().mean(dim=0).sum(dim=1)
        variance = (keys - keys.mean(dim=0)).square().mean(dim=0).sum(dim=1)
        return bool(((lost < _LOST * variance) & (variance > _LEAST * self._variance)).all())

    def add(self, page: Page) -> None:
        codes = np.empty((len(self._indexes), len(page.ids), self._values.shape[2] // 2), np.uint8)
        for start in range(0, len(page.ids), _PART):
            part = slice(start, start + _PART)
            two = self._levels(_keys(page, self._similarity, part)).numpy().view("<u2")
            codes[:, part] = two | two >> 4
        rows = np.arange(page.first, page.end)
        for index, of_layer in zip(self._indexes, codes, strict=True):
            _add_list(index, page.number, of_layer, rows)

    def remove(self, number: int) -> None:
        for index in self._indexes:
            index.ntotal -= index.invlists.list_size(number)
            index.invlists.resize(number, 0)

    def search(
        self, layer: int, query: Float32[Tensor, " features"], numbers: Sequence[int], most: int
    ) -> tuple[Float32[np.ndarray, " most"], Rows]:
        """About the largest inner products in some pages, and their rows; -1 where none is left."""
        index = self._indexes[layer]
        index.nprobe = len(numbers)
        turned, near = query @ self._values[layer], np.zeros((1, len(numbers)), np.float32)
        found = index.search_preassigned(turned[None].numpy(), most, np.array([numbers]), near)
        return found[0][0] + float(query @ self._centre[layer]), found[1][0]

    def _levels(self, keys: Keys) -> UInt8[Tensor, "layers some width"]:
        steps = ((keys - self._centre).transpose(0, 1) @ self._inverse).add_(_MIDDLE)
        levels: Tensor = steps.round_().clamp_(0, _LEVELS - 1).to(torch.uint8)
        return levels


def _keys(page: Page, similarity: Similarity, rows: slice) -> Keys:
    keys = torch.from_numpy(page.exact[rows])
    return keys / torch.from_numpy(page.norms[rows])[:, :, None] if similarity == "cosine" else keys


def _empty_index(width: int) -> Any:
    import faiss  # takes a while, and short histories need it not

    kind = faiss.METRIC_INNER_PRODUCT
    quantizer = faiss.IndexFlatIP(width)
    index = faiss.IndexIVFPQFastScan(quantizer, width, _MOST_PAGES, width, 4, kind)
    index.referenced_objects = [quantizer]
    levels = np.tile(np.arange(_LEVELS, dtype=np.float32) - _MIDDLE, width)
    faiss.copy_array_to_vector(levels, index.pq.centroids)
    index.by_residual, index.is_trained = False, True
    return index


def _add_list(index: Any, number: int, codes: UInt8[np.ndarray, "rows bytes"], rows: Rows) -> None:
    """FAISS packs codes only as it makes an index of them."""
    import faiss

    flat = faiss.IndexPQ(index.d, index.d, 4, faiss.METRIC_INNER_PRODUCT)
    flat.pq, flat.is_trained = index.pq, True
    flat.add_sa_codes(codes)
    packed = faiss.IndexPQFastScan(flat)  # which must outlive the next line
    index.invlists.add_entries(number, len(rows), faiss.swig_ptr(rows), packed.codes.get())
    index.ntotal += len(rows)
