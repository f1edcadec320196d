"""decoded: encoded rows of one layer in, their keys and values in one piece out."""

from collections import defaultdict
from collections.abc import Sequence

import torch

from memory.codecs.codec import codec_named
from memory.kv_block import KeysAndValues, RowForm
from memory.provenance import Provenance
from memory.rows.row_stage import stage_of


def decoded(
    rows: Sequence[bytes],
    forms: Sequence[RowForm],
    provenance: Provenance,
    dtype: torch.dtype,
    device: torch.device,
) -> KeysAndValues:
    """Row after row, in the order given; rows of equal form are decoded together, on `device`."""
    alike: dict[RowForm, list[int]] = defaultdict(list)
    for place, form in enumerate(forms):
        alike[form].append(place)
    if len(alike) == 1:
        return _decoded_alike(rows, forms[0], dtype, device)

    ends = torch.tensor([form.layout.tokens for form in forms], dtype=torch.int64).cumsum(0)
    total = int(ends[-1]) if len(forms) else 0
    keys = torch.empty(provenance.kv_heads, total, provenance.head_dim, dtype=dtype, device=device)
    values = torch.empty_like(keys)
    for form, places in alike.items():
        of_group = _decoded_alike([rows[at] for at in places], form, dtype, device)
        starts = ends[places] - form.layout.tokens
        tokens = (starts[:, None] + torch.arange(form.layout.tokens)).flatten().to(device)
        keys[:, tokens], values[:, tokens] = of_group
    return keys, values


def _decoded_alike(
    rows: Sequence[bytes], form: RowForm, dtype: torch.dtype, device: torch.device
) -> KeysAndValues:
    if device.type == "cuda":  # as bytes: the fewest that can cross to it
        stacked = stage_of(device).stack(rows)
    else:
        joined = torch.frombuffer(bytearray().join(rows), dtype=torch.uint8)
        stacked = joined.view(len(rows), -1).to(device)
    return codec_named(form.codec).decode(stacked, form.layout, dtype)
