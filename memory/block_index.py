"""BlockIndex finds a query's best blocks by the representative keys of all blocks.

Source: ReKV (Di et al., ICLR 2025), section 3.2. A block's representative key is the mean of its
keys before RoPE over its tokens, all heads concatenated; a question's query is the mean of its
queries before RoPE over its tokens; the blocks of highest similarity are retrieved, for each layer
by itself, and stay in stream order.

Differs from the paper: ReKV repeats the keys for every query head. The inner product is the same if
instead the mean query is summed over the query heads that share a key head, as the caller does, and
the index is smaller by the size of the group; the cosine differs by a factor that is equal for all
blocks. The paper speaks of cosine similarity, the authors' code computes the inner product.

Among many blocks a search has two stages: codes of the keys choose candidates, and these are scored
exactly in float32, in host RAM. A device holds int8 codes of as many of the newest pages as it has
room for; host RAM holds the codes of `memory.host_codes`.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from itertools import chain
from math import inf

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
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
from memory.key_pages import (
    FIRST_ROWS,
    HOST_PAGE_ROWS,
    PAGE_ROWS,
    KeyPages,
    Part,
    Rows,
    by_page,
)

_CANDIDATES = 3
"""How many blocks with int8 codes are scored exactly for each one asked for."""
_LARGEST_CODE, _LARGEST_QUERY_CODE = 127, 63
"""Processors without VNNI add two products of 8 bits in 16; with 127 that overflows."""
_QUERY_COLUMNS, _ROWS_AT_ONCE = {"cuda": 8}, 32
"""Tensor cores multiply by at least this many columns, and by whole multiples of these rows."""
_SETTLE_BLOCKS = 64
_NARROWEST = 0.25
"""The least spread of a feature, as a share of the layer's mean: one that hardly varies must not
drown the others.
"""


class BlockIndex(KeyPages):
    """Search over representative keys, layer by layer."""

    def __init__(
        self,
        layers: int,
        features: int,
        device: torch.device,
        device_bytes: int | None = None,
    ) -> None:
        """Queries come from `device`, which holds at most `device_bytes` of codes, or one page.
        None: all codes; 0: none.
        """
        page_rows = HOST_PAGE_ROWS if device_bytes == 0 else PAGE_ROWS
        super().__init__(layers, features, page_rows)
        self._device = device
        self._device_bytes = inf if device_bytes is None else device_bytes
        self._on_host = HostCodes()
        self._scales = self._norms = torch.empty(layers, 0, device=device)
        """Scales of each row's codes on the device, and norms of its keys, page after page."""
        self._unsettled: list[int] = []
        """Rows without codes yet."""
        self._spread: Float32[Tensor, "layers features"] | None = None
        """The unit of the codes, per feature, on the host. None before there are codes."""
        self._chosen: tuple[tuple[int, int], Rows, Tensor] | None = None

    @property
    def num_bytes(self) -> int:
        """The size of the index, on the device and in host RAM."""
        return super().num_bytes + self._on_host.num_bytes + self.num_device_bytes

    @property
    def num_device_bytes(self) -> int:
        """The part of it on the device."""
        codes = sum(page.codes.nbytes for page in self._pages if page.codes is not None)
        return self._scales.nbytes + self._norms.nbytes + codes

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
        """Return the ids of the best blocks from `first` up to but not `below`, in stream order. If
        there are at most `top_k`, return all.

        `queries` has a row per layer; a block's score is the mean over `layers`. Blocks appended
        after `below` was taken do not count. A block of several vectors has the score of its best
        one; if there are such blocks, all blocks are scored exactly.

        Among more than 8192 blocks on a CPU, or 512 on a device, codes choose the candidates: of
        one layer's best blocks about 99 in 100 are found. On a CPU, runs and several layers are
        always scored exactly.

        With `chunk_blocks` > 1, neighbours form runs of that length, counted from the oldest block.
        The `top_k // chunk_blocks` runs of best average score are returned; a shorter last run is
        averaged over its own length.
        """
        start, end = bisect_left(self._ids, first), bisect_left(self._ids, below)
        count, wanted = end - start, top_k // chunk_blocks
        if count <= top_k:
            return self._ids[start:end].tolist()
        by = queries.detach().float().cpu()
        if similarity == "cosine":
            by = by / by.norm(dim=1, keepdim=True).clamp_min(MIN_NORM)
        is_long = count > (FIRST_ROWS if self._device_bytes else PAGE_ROWS) and not self._more
        is_here = self._spread is not None and self._pages[0].codes is not None
        if is_long and not is_here and len(layers) == chunk_blocks == 1:
            rows = self._likely(layers[0], by[0], similarity, first, below, wanted)
            exact = self._scores(layers, by, rows, similarity)
            found = by_page(self._pages, rows[best_places(exact, wanted)])
            return sorted(chain.from_iterable(page.ids[place].tolist() for page, _, place in found))
        num_runs, candidates = -(-count // chunk_blocks), _CANDIDATES * wanted
        runs = np.arange(num_runs)
        if is_long and is_here and num_runs > candidates:
            _, rough = self._rough_scores(layers, by, start, end, similarity)
            runs = best_places(run_means(rough, chunk_blocks), candidates)
        places = places_of_runs(runs, chunk_blocks, count)
        rows = np.frombuffer(self._rows, dtype=np.int64)[start + places]
        order = rows.argsort(kind="stable")
        exact = self._scores(layers, by, rows[order], similarity)[order.argsort()]
        if self._more:
            exact = self._best_of_several(layers, by, start, exact, similarity)
        best = runs[best_places(run_means(exact, chunk_blocks), wanted)]
        return [self._ids[start + at] for at in places_of_runs(best, chunk_blocks, count).tolist()]

    def _likely(
        self,
        layer: int,
        query: Float32[Tensor, " features"],
        similarity: Similarity,
        first: int,
        below: int,
        wanted: int,
    ) -> Rows:
        """Return, rising, the rows that may be the best if some have no codes on the device."""
        here = next((page.first for page in self._pages if page.codes is not None), self._next_row)
        parts = self._parts[: bisect_left(self._parts, here, key=lambda one: one.first)]
        likely = self._on_host.likely(parts, layer, query, similarity, first, below, wanted)
        if here == self._next_row:
            return likely
        start, end = bisect_left(self._ids, first), bisect_left(self._ids, below)
        rows, rough = self._rough_scores([layer], query[None], start, end, similarity)
        best = best_places(rough, min(len(rows), _CANDIDATES * wanted))
        return np.sort(np.concatenate((likely, rows[best])))

    def _best_of_several(
        self,
        layers: Sequence[int],
        queries: Float32[Tensor, "layers features"],
        start: int,
        scores: Float32[Tensor, " blocks"],
        similarity: Similarity,
    ) -> Float32[Tensor, " blocks"]:
        """Raise scores by first vectors where another vector of a block is better."""
        for at, block_id in enumerate(self._ids[start : start + len(scores)]):
            if (more := self._more.get(block_id)) is not None:
                others = similarities(torch.from_numpy(more[list(layers)]), queries, similarity)
                scores[at] = max(scores[at], others.mean(dim=0).max())
        return scores

    def drop(self, block_ids: Collection[int]) -> None:
        super().drop(block_ids)
        end = self._pages[-1].end if self._pages else 0
        self._resize(end)
        self._unsettled = [row for row in self._unsettled if row < end]

    def _add_page(self, rows: int) -> None:
        super()._add_page(rows)
        if not self._device_bytes:
            return
        codes = np.zeros((self._layers, rows, self.features), dtype=np.int8)
        here = [page for page in self._pages if page.codes is not None]
        taken = codes.nbytes + sum(page.codes.nbytes for page in here if page.codes is not None)
        for page in here:  # the oldest go first
            if taken > self._device_bytes and page.codes is not None:
                taken -= page.codes.nbytes
                page.codes = None
        with torch.inference_mode(False):  # or nobody could write into it outside
            on_device = torch.from_numpy(codes).to(self._device)  # numpy asks for huge pages
        self._pages[-1].codes = on_device
        self._resize(self._pages[-1].end)

    def _resize(self, rows: int) -> None:
        if self._device_bytes and rows != self._scales.shape[1]:
            with torch.inference_mode(False):
                more = 0, rows - self._scales.shape[1]
                self._scales, self._norms = F.pad(self._scales, more), F.pad(self._norms, more)

    def _write(
        self,
        rows: Sequence[int],
        block_ids: Sequence[int],
        exact: Float32[Tensor, "rows layers more_features"],
    ) -> None:
        super()._write(rows, block_ids, exact)
        if self._device_bytes:
            self._unsettled += rows
            if len(self._unsettled) >= (FIRST_ROWS if self._spread is None else _SETTLE_BLOCKS):
                self._settle()

    def _changed(self, part: Part) -> None:
        super()._changed(part)
        self._on_host.forget(part)
        self._chosen = None

    def _settle(self) -> None:
        """Make the missing int8 codes; the largest number of a row becomes the largest code."""
        rows = np.array(sorted(set(self._unsettled)))
        self._unsettled = []
        if self._spread is None:
            self._spread = _spread_of(self.keys(self._ids).transpose(0, 1))
        for page, _, place in by_page(self._pages, rows):
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

    def _rough_scores(
        self,
        layers: Sequence[int],
        queries: Float32[Tensor, "layers features"],
        start: int,
        end: int,
        similarity: Similarity,
    ) -> tuple[Rows, Float32[Tensor, " rows"]]:
        """Return the rows of the blocks from place `start` to `end` that have codes on the device,
        and their scores by these codes, averaged over layers. `queries` are on the host, as in
        `_scores`: small products are faster there.
        """
        if self._unsettled:
            self._settle()
        assert self._spread is not None
        pages = [page for page in self._pages if page.codes is not None]
        here = pages[0].first
        used = here + -(-(self._next_row - here) // _ROWS_AT_ONCE) * _ROWS_AT_ONCE
        sizes = [min(page.end, used) - page.first for page in pages]
        columns = _QUERY_COLUMNS.get(self._device.type, 1)
        products = torch.empty(used - here, columns, dtype=torch.int32, device=self._device)
        scores = torch.empty(used - here, device=self._device)
        places = list(zip(pages, products.split(sizes), scores.split(sizes), strict=True))
        centres = np.stack([page.centre for page in pages if page.centre is not None])
        total = torch.zeros((), device=self._device)
        for layer, query in zip(layers, queries.numpy(), strict=True):
            weighed = query * self._spread[layer].numpy()
            unit = max(float(np.abs(weighed).max()), MIN_NORM) / _LARGEST_QUERY_CODE
            column = torch.from_numpy(np.rint(weighed / unit).astype(np.int8))[:, None]
            on_device = column.to(self._device).repeat(1, columns)
            for page, product, _ in places:
                assert page.codes is not None
                torch._int_mm(page.codes[layer, : len(product)], on_device, out=product)
            scores.copy_(products[:, 0]).mul_(self._scales[layer, here:used])
            offsets = (centres[:, layer] @ query / unit).tolist()
            for (_, _, of_page), offset in zip(places, offsets, strict=True):
                of_page += offset
            if similarity == "cosine":
                scores /= self._norms[layer, here:used]
            if len(layers) > 1:
                total = total + unit * scores
        if self._chosen is None or self._chosen[0] != (start, end):
            rows = np.array(self._rows[start:end])
            rows = rows[rows >= here]
            self._chosen = (start, end), rows, torch.tensor(rows - here, device=self._device)
        _, rows, chosen = self._chosen
        return rows, (total if len(layers) > 1 else scores)[chosen]


def _spread_of(
    keys: Float32[Tensor, "blocks layers features"],
) -> Float32[Tensor, "layers features"]:
    spread = keys.std(dim=0)
    mean = spread.square().mean(dim=1, keepdim=True).sqrt()
    return spread.clamp_min(_NARROWEST * mean).clamp_min(MIN_NORM)
