"""What a stream must equal: one plain transformers forward over everything, with a given mask."""

import numpy as np
import torch


def offline_logits(model, prefix, blocks, text=None, left_edges=None):
    """Logits of all block tokens, then all text tokens, by the model's own attention.

    The model has not been adopted. `left_edges[n]` is the first block that block n sees; the prefix
    stands right before that block, so there is one copy of it for every left edge, seen only from
    there. Text (a question) sees the prefix at 0 and all blocks.
    """
    left_edges = left_edges or [0] * len(blocks)
    width = len(prefix.embeddings)
    bases = documented_bases(width, blocks)
    edges = sorted(set(left_edges))
    parts, positions, owner = [], [], []
    for edge in edges:
        parts.append(prefix.embeddings)
        positions.append(bases[edge][:, None] - width + torch.arange(width))
        owner += [("prefix", edge)] * width
    for number, block in enumerate(blocks):
        parts.append(block.embeddings)
        positions.append(bases[number][:, None] + block.positions)
        owner += [("block", number)] * len(block.embeddings)
    if text is not None:
        start = int(torch.cat(positions, dim=1).max()) + 1
        axes = positions[0].shape[0]
        parts.append(text.embeddings)
        positions.append((start + torch.arange(len(text.embeddings))).expand(axes, -1))
        owner += [("text", 0)] * len(text.embeddings)
    mask = _mask(owner, left_edges)
    hidden = _decoder_hidden(
        model, torch.cat(parts)[None], torch.cat(positions, dim=1), mask, blocks, owner
    )
    return model.get_output_embeddings()(hidden)[width * len(edges) :]


def documented_bases(start, blocks):
    """Where each block begins: the family's `advance` added up, block by block."""
    base = torch.full((blocks[0].positions.shape[0],), start)
    bases = []
    for block in blocks:
        bases.append(base)
        base = base + block.advance
    return bases


def _mask(owner, left_edges):
    kinds = np.array([kind for kind, _ in owner])
    numbers = np.array([number for _, number in owner])
    is_prefix, is_block = kinds == "prefix", kinds == "block"
    edges = np.where(is_block, np.array([*left_edges, 0])[numbers * is_block], 0)
    seen = np.where(is_prefix, numbers == edges[:, None], edges[:, None] <= numbers)
    own_copy = is_prefix & (numbers == numbers[:, None])
    mask = np.where(is_prefix[:, None], own_copy, seen | (~is_prefix & ~is_block))
    return torch.from_numpy(np.tril(mask))


def _decoder_hidden(model, embeddings, positions, mask, blocks, owner):
    extra = {}
    if blocks[0].deepstack is not None:
        visual = torch.zeros(len(owner), dtype=torch.bool)
        visual[[kind == "block" for kind, _ in owner]] = torch.cat([b.is_visual for b in blocks])
        extra = {
            "visual_pos_masks": visual[None],
            "deepstack_visual_embeds": list(torch.cat([b.deepstack for b in blocks], dim=1)),
        }
    output = model.get_decoder()(
        inputs_embeds=embeddings,
        position_ids=positions[:, None] if len(positions) > 1 else positions,
        attention_mask=mask[None, None],
        use_cache=False,
        **extra,
    )
    return output.last_hidden_state[0]
