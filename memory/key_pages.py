"""KeyPages holds representative keys by block id, and scores them exactly.

Keys lie in float32 in host RAM, in pages that never move. A block that is dropped leaves its row to
a later one.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from memory.best_blocks import MIN_NORM, Similarity, as_array, as_slice, similarities

FIRST_ROWS, PAGE_ROWS, HOST_PAGE_ROWS = 512, 8192, 1 << 16
"""Each page has as many rows as all earlier pages together, up to a bound. HOST_PAGE_ROWS bounds
pages of an index without codes on a device: rows not written yet take no RAM.
"""
PART_ROWS = 2048
ENDLESS = 1 << 62
"""More than any id."""
_DENSE = 4
"""If more than one row in this many is wanted, all rows are read."""
Rows = Int64[np.ndarray, " rows"]


@dataclass(eq=False)
class Part:
    """Up to PART_ROWS rows of a page, starting at row `first`; parts count from number 0."""

    number: int
    first: int
    exact: Float32[np.ndarray, "rows layers features"]
    norms: Float32[np.ndarray, "rows layers"]
    ids: Int64[np.ndarray, " rows"]
    """The block of each row; -1 if the row is free."""
    bounds: tuple[int, int] | None = None
    """The lowest and highest of `ids`; None if they have changed since."""

    @property
    def end(self) -> int:
        return self.first + len(self.ids)

    def is_within(self, first: int, below: int) -> bool:
        """Return whether all rows hold blocks, with ids from `first` up to but not `below`."""
        if self.bounds is None:
            self.bounds = int(self.ids.min()), int(self.ids.max())
        return first <= self.bounds[0] and self.bounds[1] < below

    def rows(self, first: int, below: int) -> Rows:
        """Return the rows of blocks with ids from `first` up to but not `below`."""
        return self.first + np.flatnonzero((self.ids >= first) & (self.ids < below))


@dataclass(eq=False)
class Page:
    """Rows that start at `first`."""

    first: int
    exact: Float32[np.ndarray, "rows layers features"]
    norms: Float32[np.ndarray, "rows layers"]
    ids: Int64[np.ndarray, " rows"]
    codes: Tensor | None = None
    """int8 [layers, rows, features] on the device; None if it has no room for them."""
    centre: Float32[np.ndarray, "layers features"] | None = None
    """The key that codes count from, on the host; None before there are codes. Keys often share a
    large part, by night another than by day: codes must not be spent on it.
    """

    @property
    def end(self) -> int:
        return self.first + len(self.ids)


_P = TypeVar("_P", Part, Page)


class KeyPages:
    """Representative keys of blocks, whose ids rise as they are added."""

    def __init__(self, layers: int, features: int, page_rows: int) -> None:
        """`features` is kv_heads * head_dim; `page_rows` bounds the rows of a page."""
        self._layers, self.features, self._page_rows = layers, features, page_rows
        self._ids, self._rows = array("q"), array("q")
        self._free: list[int] = []
        self._next_row = 0
        self._pages: list[Page] = []
        self._parts: list[Part] = []
        self._more: dict[int, Float32[np.ndarray, "layers more features"]] = {}
        """Further vectors of the blocks that have more than one."""

    @property
    def num_blocks(self) -> int:
        return len(self._ids)

    @property
    def num_bytes(self) -> int:
        """The size of all rows written so far; the rest of a page takes no RAM."""
        return self._next_row * self._layers * (self.features + 1) * np.dtype(np.float32).itemsize

    def extend(
        self,
        block_ids: Sequence[int],
        keys: Float[Tensor, "blocks layers vectors*kv_heads*head_dim"],
    ) -> None:
        """Add blocks, whose ids rise. Of several vectors, side by side, `keys` knows the first."""
        assert not self._ids or not block_ids or block_ids[0] > self._ids[-1]
        rows = [self._take_row() for _ in block_ids]
        exact = keys.detach().float().cpu()
        if exact.shape[2] > self.features:
            more = exact[:, :, self.features :].unflatten(2, (-1, self.features)).numpy()
            self._more.update(zip(block_ids, more, strict=True))
        self._ids.extend(block_ids)
        self._rows.extend(rows)
        self._write(rows, block_ids, exact)

    def replace(
        self, block_id: int, keys: Float[Tensor, "layers vectors*kv_heads*head_dim"]
    ) -> None:
        """Give a block, which is there, other vectors."""
        exact = keys.detach().float().cpu()
        self._more.pop(block_id, None)
        if exact.shape[1] > self.features:
            more = exact[:, self.features :].unflatten(1, (-1, self.features))
            self._more[block_id] = more.numpy()
        self._write([self._rows[bisect_left(self._ids, block_id)]], [block_id], exact[None])

    def drop(self, block_ids: Collection[int]) -> None:
        """Forget these blocks; later ones take their room. Costs what lies between them."""
        gone = set(block_ids)
        if not gone:
            return
        run = slice(bisect_left(self._ids, min(gone)), bisect_right(self._ids, max(gone)))
        ids, rows = array("q"), array("q")
        for block_id, row in zip(self._ids[run], self._rows[run], strict=True):
            if block_id in gone:
                heappush(self._free, row)
                part = self._parts[bisect_right(self._parts, row, key=lambda one: one.first) - 1]
                part.ids[row - part.first] = -1
                self._changed(part)
            else:
                ids.append(block_id)
                rows.append(row)
        self._ids[run], self._rows[run] = ids, rows
        if self._more:
            self._more = {i: more for i, more in self._more.items() if i not in gone}
        while self._pages and (self._pages[-1].ids < 0).all():
            self._next_row = self._pages.pop().first
            del self._parts[bisect_left(self._parts, self._next_row, key=lambda one: one.first) :]
            self._free = [row for row in self._free if row < self._next_row]
            heapify(self._free)

    def keys(
        self, block_ids: Sequence[int], layers: Sequence[int] | None = None
    ) -> Float32[Tensor, "layers blocks kv_heads*head_dim"]:
        """Representative keys of blocks that are there, in the order given; None: of all layers."""
        places = np.searchsorted(self._ids, as_array(block_ids))
        rows = np.frombuffer(self._rows, dtype=np.int64)[places]
        layers, order = layers or range(self._layers), rows.argsort(kind="stable")
        keys = np.empty((len(layers), len(rows), self.features), dtype=np.float32)
        is_run = (np.diff(rows) == 1).all()
        for page, at, place in by_page(self._pages, rows[order]):
            to_rows, from_rows = (at, as_slice(place)) if is_run else (order[at], place)
            for to, layer in zip(keys, layers, strict=True):
                to[to_rows] = page.exact[from_rows, layer]
        return torch.from_numpy(keys)

    def cosines(
        self, queries: Float[Tensor, "layers kv_heads*head_dim"], block_ids: Sequence[int]
    ) -> Float32[Tensor, "layers blocks"]:
        """The cosines of some blocks, in the order given; none of them may be dropped."""
        return similarities(self.keys(block_ids), queries.float().cpu(), "cosine")

    def _scores(
        self,
        layers: Sequence[int],
        queries: Float32[Tensor, "layers features"],
        rows: Rows,
        similarity: Similarity,
    ) -> Float32[Tensor, " rows"]:
        """Of rows that rise, averaged over layers; `queries` are of length 1 for the cosine."""
        scores, pages = np.zeros(len(rows), np.float32), list(by_page(self._pages, rows))
        dense = [one for one in pages if _DENSE * len(one[2]) > one[2][-1] - one[2][0]]
        few = [one for one in pages if _DENSE * len(one[2]) <= one[2][-1] - one[2][0]]
        of_few = np.concatenate([np.arange(0), *(np.arange(at.start, at.stop) for _, at, _ in few)])
        some_keys = np.empty((len(of_few), self.features), np.float32)
        for layer, query in zip(layers, queries, strict=True):
            for page, at, place in dense:
                keys, some = page.exact[place[0] : place[-1] + 1, layer], as_slice(place)
                found = torch.mv(torch.from_numpy(keys), query).numpy()[as_slice(place - place[0])]
                scores[at] += found / page.norms[some, layer] if similarity == "cosine" else found
            if few:
                begin = 0
                for page, _, place in few:
                    to, wanted = some_keys[begin : begin + len(place)], place * self._layers + layer
                    keys = page.exact.reshape(-1, self.features)
                    keys.take(wanted, axis=0, out=to, mode="clip")  # the others would copy twice
                    begin += len(place)
                norms = np.sqrt(np.einsum("ij,ij->i", some_keys, some_keys)).clip(MIN_NORM)
                found = torch.mv(torch.from_numpy(some_keys), query).numpy()
                scores[of_few] += found / norms if similarity == "cosine" else found
        return torch.from_numpy(scores).div_(len(layers))

    def _take_row(self) -> int:
        """A free row, the lowest first so that the last pages get empty."""
        if self._free:
            return heappop(self._free)
        if not self._pages or self._next_row == self._pages[-1].end:
            self._add_page(min(max(self._next_row, FIRST_ROWS), self._page_rows))
        self._next_row += 1
        return self._next_row - 1

    def _add_page(self, rows: int) -> None:
        first = self._next_row
        exact = torch.empty(rows, self._layers, self.features).numpy()  # numpy asks for huge pages
        norms, ids = np.empty(exact.shape[:2], np.float32), np.full(rows, -1)
        self._pages.append(Page(first, exact, norms, ids))
        for at in range(0, rows, PART_ROWS):
            some = slice(at, at + PART_ROWS)
            part = Part(len(self._parts), first + at, exact[some], norms[some], ids[some])
            self._parts.append(part)

    def _write(
        self,
        rows: Sequence[int],
        block_ids: Sequence[int],
        exact: Float32[Tensor, "rows layers more_features"],
    ) -> None:
        """Into rows that rise."""
        ids, keys = np.asarray(block_ids), exact[:, :, : self.features]
        norms = keys.norm(dim=2).clamp_min_(MIN_NORM).numpy()
        for part, at, place in by_page(self._parts, np.asarray(rows, dtype=np.int64)):
            to = as_slice(place)
            part.exact[to], part.norms[to], part.ids[to] = keys.numpy()[at], norms[at], ids[at]
            self._changed(part)

    def _changed(self, part: Part) -> None:
        """Note that some of its rows are others now, or free."""
        part.bounds = None


def by_page(pages: Sequence[_P], rows: Rows) -> Iterator[tuple[_P, slice, Rows]]:
    """Yield the pages that hold some rows, which rise: which of them, and where within it."""
    if len(rows):
        later = pages[bisect_right(pages, rows[0], key=lambda one: one.first) - 1 :]
        ends: list[int] = np.searchsorted(rows, [page.end for page in later]).tolist()
        for page, begin, end in zip(later, [0, *ends], ends, strict=False):
            if begin < end:
                yield page, slice(begin, end), rows[begin:end] - page.first
