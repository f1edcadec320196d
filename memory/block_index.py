"""BlockIndex: representative keys of all blocks in; for a query, the ids of the best blocks out.

Source: ReKV (Di et al., ICLR 2025), section 3.2. A block's representative key is the mean of its
keys before RoPE over its tokens, all heads concatenated; a question's query is the mean of its
queries before RoPE over its tokens; the blocks of highest similarity are retrieved, for each layer
by itself, and stay in stream order.

Differs from the paper: ReKV repeats the keys for every query head. The inner product is the same if
instead the mean query is summed over the query heads that share a key head, as the caller does, and
the index is smaller by the size of the group; the cosine differs by a factor that is equal for all
blocks. The paper speaks of cosine similarity, the authors' code computes the inner product.

A search has two stages once there are many blocks. Codes of the keys say which may be the best,
and these are scored exactly, in float32 in host RAM. On a device there are codes in int8, of the
newest keys that it has room for; in host RAM of two bits a feature (see `memory.host_codes`). What
both stages hold lies in pages that never move: a block that goes leaves its row to a later one.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from heapq import heapify, heappop, heappush
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from memory.best_blocks import (
    MIN_NORM,
    Similarity,
    as_slice,
    best_places,
    places_of_runs,
    run_means,
    similarities,
)
from memory.host_codes import HostCodes
from memory.index_page import IndexPage

_FIRST_ROWS, _PAGE_ROWS = 512, 8192
"""Each page has as many rows as all before it, up to a bound. Of the first so many blocks all are
scored exactly: where codes are on a device, and where they are not.
"""
_CANDIDATES = 3
"""So many times the blocks that are asked for are scored exactly, of those with int8 codes."""
_LARGEST_CODE, _LARGEST_QUERY_CODE = 127, 63
"""Processors without VNNI add two products of 8 bits in 16; with 127 that overflows."""
_QUERY_COLUMNS, _ROWS_AT_ONCE = {"cuda": 8}, 32
"""Tensor cores multiply by no fewer columns, and whole multiples of so many rows."""
_SETTLE_BLOCKS = 64
_NARROWEST = 0.25
"""Of the mean spread of a layer's features: one that hardly varies must not drown the others."""


class BlockIndex:
    """Search over representative keys, layer by layer. Ids rise as blocks are added."""

    def __init__(
        self,
        layers: int,
        features: int,
        device: torch.device,
        device_bytes: int | None = None,
    ) -> None:
        """`features` is kv_heads * head_dim; `device` is where queries come from, and has at most
        `device_bytes` of codes, or one page; None: all of them; 0: none.
        """
        self._layers, self.features, self._device = layers, features, device
        self._device_bytes = inf if device_bytes is None else device_bytes
        self._on_host = HostCodes()
        self._ids, self._rows = array("q"), array("q")
        self._free: list[int] = []
        self._next_row = 0
        self._pages: list[IndexPage] = []
        self._id_at = np.empty(0, dtype=np.int64)
        """The block of each row of all pages; -1: none."""
        self._scales = self._norms = torch.empty(layers, 0, device=device)
        """Of the codes of each row, and of its keys; pages end to end."""
        self._unsettled: list[int] = []
        """Rows whose codes are still to be made."""
        self._spread: Float32[Tensor, "layers features"] | None = None
        """The unit of the codes, feature by feature; on the host. None: there are none yet."""
        self._chosen: tuple[tuple[int, int], Int64[np.ndarray, " rows"], slice | Tensor] | None = (
            None
        )
        self._more: dict[int, Float32[np.ndarray, "layers more features"]] = {}
        """Further vectors of the blocks that have more than one."""

    @property
    def num_blocks(self) -> int:
        return len(self._ids)

    @property
    def num_bytes(self) -> int:
        """Room of all pages, on the device and in host RAM."""
        pages = sum(page.exact.nbytes + page.norms.nbytes for page in self._pages)
        return self.num_device_bytes + self._on_host.num_bytes + pages

    @property
    def num_device_bytes(self) -> int:
        """Of that, what is on the device."""
        codes = sum(page.codes.nbytes for page in self._pages if page.codes is not None)
        return self._scales.nbytes + self._norms.nbytes + codes

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
        if len(self._unsettled) >= (_SETTLE_BLOCKS if self._spread is not None else _FIRST_ROWS):
            self._settle()

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
                page = self._pages[bisect_right(self._pages, row, key=lambda one: one.first) - 1]
                page.live -= 1
                self._id_at[row] = -1
                self._on_host.change(page)
            else:
                ids.append(block_id)
                rows.append(row)
        self._ids[run], self._rows[run] = ids, rows
        self._chosen = None
        if self._more:
            self._more = {i: more for i, more in self._more.items() if i not in gone}
        self._release()

    def keys(
        self, block_ids: Sequence[int], layers: Sequence[int] | None = None
    ) -> Float32[Tensor, "layers blocks kv_heads*head_dim"]:
        """Representative keys of blocks that are there, in the order given; None: of all layers."""
        places = [bisect_left(self._ids, block_id) for block_id in block_ids]
        rows = np.asarray([self._rows[at] for at in places], dtype=np.int64)
        return self._exact_keys(layers or range(self._layers), rows).transpose(0, 1)

    def cosines(
        self, queries: Float[Tensor, "layers kv_heads*head_dim"], block_ids: Sequence[int]
    ) -> Float32[Tensor, "layers blocks"]:
        """The cosines of some blocks, in the order given; none of them may be dropped."""
        return similarities(self.keys(block_ids), queries.float().cpu(), "cosine")

    def search(
        self,
        layers: Sequence[int],
        queries: Float[Tensor, "layers kv_heads*head_dim"],
        below: int,
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
        first: int = 0,
    ) -> list[int]:
        """Ids of the best blocks from `first` to `below`, in stream order; all if <= `top_k`.

        Of several layers the mean counts; `queries` has a row for each. Blocks appended after
        `below` was taken are not looked at. A block of several vectors has the score of its best;
        where there are such blocks, all are scored exactly.

        With `chunk_blocks` > 1 blocks are taken in runs of that many neighbours, counted from the
        oldest, by their average score: `top_k // chunk_blocks` runs, where a shorter last run is
        averaged over what it has.
        """
        start, end = bisect_left(self._ids, first), bisect_left(self._ids, below)
        count, wanted = end - start, top_k // chunk_blocks
        if count <= top_k:
            return self._ids[start:end].tolist()
        by = queries.detach().float().cpu()
        if similarity == "cosine":
            by = by / by.norm(dim=1, keepdim=True).clamp_min(MIN_NORM)
        is_here, is_plain = self._first_here() == 0, len(layers) == chunk_blocks == 1
        is_long = count > (_FIRST_ROWS if self._device_bytes else _PAGE_ROWS) and not self._more
        if is_long and is_plain and not is_here:
            rows = self._likely(layers[0], by[0], first, below, similarity, wanted)
            exact = self._exact_scores(layers, by, rows, similarity)
            ids: list[int] = np.sort(self._id_at[rows[best_places(exact, wanted)]]).tolist()
            return ids
        num_runs, candidates = -(-count // chunk_blocks), _CANDIDATES * wanted
        runs = np.arange(num_runs)
        if is_long and is_here and self._spread is not None and num_runs > candidates:
            _, rough = self._rough_scores(layers, by, start, end, similarity)
            runs = best_places(run_means(rough, chunk_blocks), candidates)
        places = places_of_runs(runs, chunk_blocks, count)
        rows = np.frombuffer(self._rows, dtype=np.int64)[start + places]
        exact = self._exact_scores(layers, by, rows, similarity)
        if self._more:
            exact = self._best_of_several(layers, by, start, exact, similarity)
        best = runs[best_places(run_means(exact, chunk_blocks), wanted)]
        return [self._ids[start + at] for at in places_of_runs(best, chunk_blocks, count).tolist()]

    def _likely(
        self,
        layer: int,
        query: Float32[Tensor, " features"],
        first: int,
        below: int,
        similarity: Similarity,
        wanted: int,
    ) -> Int64[np.ndarray, " rows"]:
        """The rows of the blocks that may be the best, where not all have codes on the device."""
        away = [page for page in self._pages if page.codes is None]
        span = first, below, similarity
        likely = self._on_host.likely(away, self._id_at, span, layer, query, wanted)
        if len(away) == len(self._pages):
            return likely
        start, end = bisect_left(self._ids, first), bisect_left(self._ids, below)
        rows, rough = self._rough_scores([layer], query[None], start, end, similarity)
        best = best_places(rough, min(len(rows), _CANDIDATES * wanted))
        return np.concatenate((likely, rows[best]))

    def _best_of_several(
        self,
        layers: Sequence[int],
        queries: Float32[Tensor, "layers features"],
        start: int,
        scores: Float32[Tensor, " blocks"],
        similarity: Similarity,
    ) -> Float32[Tensor, " blocks"]:
        """`scores` by the first vectors, raised where another vector of a block is better."""
        for at, block_id in enumerate(self._ids[start : start + len(scores)]):
            if (more := self._more.get(block_id)) is not None:
                others = similarities(torch.from_numpy(more[list(layers)]), queries, similarity)
                scores[at] = max(scores[at], others.mean(dim=0).max())
        return scores

    def _take_row(self) -> int:
        """A free row, the lowest first so that the last pages get empty."""
        if self._free:
            return heappop(self._free)
        if not self._pages or self._next_row == self._pages[-1].end:
            self._add_page(self._next_row)
        self._next_row += 1
        return self._next_row - 1

    def _write(
        self,
        rows: Sequence[int],
        block_ids: Sequence[int],
        exact: Float32[Tensor, "rows layers more_features"],
    ) -> None:
        """Into rows that rise."""
        into = np.asarray(rows, dtype=np.int64)
        for page, at, place in self._by_page(into):
            page.write(place, exact[at, :, : self.features])
            page.live += int(np.count_nonzero(self._id_at[into[at]] < 0))
            self._on_host.change(page)
        self._id_at[into] = block_ids
        if self._device_bytes:
            self._unsettled += rows
        self._chosen = None

    def _add_page(self, first: int) -> None:
        rows = min(max(first, _FIRST_ROWS), _PAGE_ROWS)
        page = IndexPage.empty(first, rows, self._layers, self.features)
        if self._device_bytes:
            codes = np.zeros((self._layers, rows, self.features), dtype=np.int8)
            self._make_room(codes.nbytes)
            with torch.inference_mode(False):  # or nobody could write into it outside
                page.codes = torch.from_numpy(codes).to(self._device)  # numpy asks for huge pages
        self._pages.append(page)
        self._resize(first + rows)

    def _make_room(self, num_bytes: int) -> None:
        """Let go of the oldest codes until the device has so much room for others."""
        here = [page for page in self._pages if page.codes is not None]
        taken = num_bytes + sum(page.codes.nbytes for page in here)
        for page in here:
            if taken <= self._device_bytes:
                return
            taken -= page.codes.nbytes
            page.codes = None

    def _resize(self, rows: int) -> None:
        self._id_at = np.append(self._id_at[:rows], np.full(max(0, rows - len(self._id_at)), -1))
        if self._device_bytes:
            with torch.inference_mode(False):
                more = 0, rows - self._scales.shape[1]
                self._scales, self._norms = F.pad(self._scales, more), F.pad(self._norms, more)

    def _release(self) -> None:
        """Give back the last pages while nothing is in them."""
        while self._pages and not self._pages[-1].live:
            self._next_row = self._pages.pop().first
            self._resize(self._next_row)
            self._free = [row for row in self._free if row < self._next_row]
            heapify(self._free)
            self._unsettled = [row for row in self._unsettled if row < self._next_row]

    def _by_page(
        self, rows: Int64[np.ndarray, " rows"]
    ) -> Iterator[tuple[IndexPage, Int64[np.ndarray, " some"], Int64[np.ndarray, " some"]]]:
        """The pages that hold some rows, which of those each holds, and where within it."""
        order = np.argsort(rows, kind="stable")
        ends = np.searchsorted(rows[order], [page.end for page in self._pages]).tolist()
        for page, begin, end in zip(self._pages, [0, *ends], ends, strict=False):
            if begin < end:
                at = order[begin:end]
                yield page, at, rows[at] - page.first

    def _exact_keys(
        self, layers: Sequence[int], rows: Int64[np.ndarray, " rows"]
    ) -> Float32[Tensor, "rows layers features"]:
        keys = np.empty((len(rows), len(layers), self.features), dtype=np.float32)
        for page, at, place in self._by_page(rows):
            for to, layer in enumerate(layers):
                keys[at, to] = page.exact[place, layer]
        return torch.from_numpy(keys)

    def _exact_scores(
        self,
        layers: Sequence[int],
        queries: Float32[Tensor, "layers features"],
        rows: Int64[np.ndarray, " rows"],
        similarity: Similarity,
    ) -> Float32[Tensor, " rows"]:
        """Averaged over layers; `queries` are of length 1 for the cosine."""
        scores = np.zeros(len(rows), dtype=np.float32)
        for page, at, place in self._by_page(rows):
            for layer, query in zip(layers, queries, strict=True):
                scores[at] += page.scores(layer, query, place, similarity)
        return torch.from_numpy(scores / len(layers))

    def _settle(self) -> None:
        """Make the int8 codes that are missing, a row's largest number being the largest code."""
        rows = np.array(sorted(set(self._unsettled)))
        self._unsettled = []
        if self._spread is None:
            self._spread = _spread_of(self._exact_keys(range(self._layers), rows))
        for page, _, place in self._by_page(rows):
            if page.codes is None:
                continue
            to = as_slice(place)
            exact = torch.from_numpy(page.exact[to])
            if page.centre is None:
                page.centre = exact.mean(dim=0).numpy()
            weighed = (exact - torch.from_numpy(page.centre)).div_(self._spread)
            largest = torch.maximum(weighed.amax(dim=2), -weighed.amin(dim=2))
            scales = largest.clamp_min(MIN_NORM) / _LARGEST_CODE
            codes = weighed.div_(scales[:, :, None]).round_().to(torch.int8)
            page.codes[:, to] = codes.transpose(0, 1).to(self._device)
            of_page = slice(page.first, page.end)
            self._scales[:, of_page][:, to] = scales.T.to(self._device)
            self._norms[:, of_page][:, to] = torch.from_numpy(page.norms[to].T).to(self._device)

    def _first_here(self) -> int:
        """The first row with codes on the device."""
        return next((one.first for one in self._pages if one.codes is not None), self._next_row)

    def _rough_scores(
        self,
        layers: Sequence[int],
        queries: Float32[Tensor, "layers features"],
        start: int,
        end: int,
        similarity: Similarity,
    ) -> tuple[Int64[np.ndarray, " rows"], Float32[Tensor, " rows"]]:
        """From the codes on the device, of the blocks from place `start` to `end` that have any,
        averaged over layers; and their rows. `queries` are as in `_exact_scores`, on the host: what
        is small is done there.
        """
        if self._unsettled:
            self._settle()
        assert self._spread is not None
        here = self._first_here()
        used = here - (here - self._next_row) // _ROWS_AT_ONCE * _ROWS_AT_ONCE
        pages = [page for page in self._pages if page.codes is not None]
        sizes = [min(page.end, used) - page.first for page in pages]
        columns = _QUERY_COLUMNS.get(self._device.type, 1)
        products = torch.empty(used - here, columns, dtype=torch.int32, device=self._device)
        scores = torch.empty(used - here, device=self._device)
        places = list(zip(pages, products.split(sizes), scores.split(sizes), strict=True))
        centres = np.stack([page.centre for page in pages])
        total = torch.zeros((), device=self._device)
        for layer, query in zip(layers, queries.numpy(), strict=True):
            weighed = query * self._spread[layer].numpy()
            unit = max(float(np.abs(weighed).max()), MIN_NORM) / _LARGEST_QUERY_CODE
            column = torch.from_numpy(np.rint(weighed / unit).astype(np.int8))[:, None]
            on_device = column.to(self._device).repeat(1, columns)
            for page, product, _ in places:
                torch._int_mm(page.codes[layer, : len(product)], on_device, out=product)
            scores.copy_(products[:, 0]).mul_(self._scales[layer, here:used])
            offsets = (centres[:, layer] @ query / unit).tolist()
            for (_, _, of_page), offset in zip(places, offsets, strict=True):
                of_page += offset
            if similarity == "cosine":
                scores /= self._norms[layer, here:used]
            if len(layers) > 1:
                total = total + unit * scores
        rows, chosen = self._choice(start, end, here)
        return rows, (total if len(layers) > 1 else scores)[chosen]

    def _choice(
        self, start: int, end: int, here: int
    ) -> tuple[Int64[np.ndarray, " rows"], slice | Tensor]:
        """The rows from `here` on of the blocks from place `start` to `end`, the same for every
        layer; and where they are among these.
        """
        if self._chosen is None or self._chosen[0] != (start, end):
            rows = np.array(self._rows[start:end])
            rows = rows[rows >= here]
            is_run = len(rows) > 0 and bool((np.diff(rows) == 1).all())
            run = slice(int(rows[0]) - here, int(rows[-1]) - here + 1) if is_run else None
            self._chosen = (start, end), rows, run or torch.tensor(rows - here, device=self._device)
        return self._chosen[1:]


def _spread_of(
    keys: Float32[Tensor, "blocks layers features"],
) -> Float32[Tensor, "layers features"]:
    spread = keys.std(dim=0)
    mean = spread.square().mean(dim=1, keepdim=True).sqrt()
    return spread.clamp_min(_NARROWEST * mean).clamp_min(MIN_NORM)
