"""Objectives: a model and a batch in, the losses that train it out.

Three of them: the words of the answers; what each frame shows, read from its visual tokens by
auxiliary heads that are thrown away afterwards; and retrieval as ReKV does it (arXiv 2503.00540,
section 3.2): in each layer the mean query of the question must come close to the mean key of the
frames that hold the evidence (InfoNCE on the cosine, before RoPE).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import SmolVLMForConditionalGeneration

from eval.stream_world.vocabulary import COLORS, SCENES, emoji_names, shape_names
from eval.training.data import NO_DIGIT, FrameBatch, StreamBatch
from eval.training.presets import FRAME_TOKENS

FAR = -1e4


class AuxiliaryHeads(nn.Module):
    """Linear readings of the visual tokens, and the temperature of the retrieval loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        num_shapes = len(shape_names())
        self.norm = nn.LayerNorm(width)
        self.names = nn.Linear(width, len(emoji_names()) + num_shapes + 1)
        self.colored_shapes = nn.Linear(width, num_shapes * len(COLORS))
        self.scene = nn.Linear(width, len(SCENES))
        self.digits = nn.Linear(width, 2 * (NO_DIGIT + 1))
        self.place = nn.Linear(width, 3)
        self.log_scale = nn.Parameter(torch.tensor(2.3))
        nn.init.constant_(self.names.bias, -6.0)  # nearly every name is absent
        nn.init.constant_(self.colored_shapes.bias, -5.0)

    def loss(self, visual: Float[Tensor, "frames tokens d_model"], truth: FrameBatch) -> Tensor:
        """How far the visual tokens are from saying what each frame shows."""
        tokens = self.norm(visual.float())
        whole = tokens.mean(1)
        bits = F.binary_cross_entropy_with_logits
        names = bits(self.names(tokens), truth.names, reduction="sum") / len(tokens)
        colored = bits(self.colored_shapes(whole), truth.colored_shapes, reduction="sum")
        scene = F.cross_entropy(self.scene(whole), truth.scene)
        digits = F.cross_entropy(self.digits(whole).view(-1, NO_DIGIT + 1), truth.digits.flatten())
        is_known = truth.place[..., 3:]
        distance = ((self.place(tokens) - truth.place[..., :3]).abs() * is_known).sum()
        place = distance / is_known.sum().clamp(min=1)
        total: Tensor = names + colored / len(tokens) + 0.3 * scene + digits + 2 * place
        return total


@contextmanager
def projections(model: SmolVLMForConditionalGeneration) -> Iterator[tuple[list[Tensor], ...]]:
    """Collect each layer's queries and keys before RoPE while the decoder runs."""
    queries: list[Tensor] = []
    keys: list[Tensor] = []
    hooks = []
    for layer in model.model.text_model.layers:
        for linear, kept in ((layer.self_attn.q_proj, queries), (layer.self_attn.k_proj, keys)):
            hooks.append(linear.register_forward_hook(lambda _m, _i, out, to=kept: to.append(out)))
    try:
        yield queries, keys
    finally:
        for hook in hooks:
            hook.remove()


def stream_losses(
    model: SmolVLMForConditionalGeneration,
    heads: AuxiliaryHeads,
    batch: StreamBatch,
    visual: Float[Tensor, "frames tokens d_model"],
) -> tuple[Tensor, Tensor]:
    """The answer loss and the retrieval loss of streams whose frames were encoded to `visual`."""
    num_streams, num_frames = batch.frame_positions.shape
    decoder = model.model.text_model
    embed = decoder.embed_tokens
    bos = torch.full_like(batch.text[:, :1], decoder.config.bos_token_id)
    times = embed(batch.times)
    frames = torch.cat([times, visual.view(num_streams, num_frames, -1, visual.shape[-1])], dim=2)
    inputs = torch.cat([embed(bos), frames.flatten(1, 2), embed(batch.text)], dim=1)
    within = torch.arange(FRAME_TOKENS, device=batch.text.device)
    positions = (batch.frame_positions[..., None] + within).flatten(1)
    positions = torch.cat([positions.new_zeros(num_streams, 1), positions, batch.text_positions], 1)
    mask = torch.zeros_like(allowed := attention_mask(batch), dtype=inputs.dtype)
    mask = mask.masked_fill(~allowed, torch.finfo(inputs.dtype).min)[:, None]
    with projections(model) as (queries, keys):
        hidden = decoder(
            inputs_embeds=inputs, attention_mask=mask, position_ids=positions, use_cache=False
        ).last_hidden_state
    is_answer = batch.label >= 0
    logits = model.lm_head(hidden[:, -batch.text.shape[1] :][is_answer]).float()
    answer_loss = F.cross_entropy(logits, batch.label[is_answer])
    head_dim = decoder.config.head_dim
    layers = [
        retrieval_loss(layer_queries, layer_keys, batch, heads.log_scale, head_dim)
        for layer_queries, layer_keys in zip(queries, keys, strict=True)
    ]
    return answer_loss, torch.stack(layers).mean()


def attention_mask(batch: StreamBatch) -> Bool[Tensor, "streams queries keys"]:
    """Who attends to whom in [bos | frames | packed questions].

    Frames see the frames of their window, a question the frames given to it and itself.
    """
    num_streams, num_frames = batch.frame_positions.shape
    device = batch.text.device
    frame = torch.arange(num_frames, device=device).repeat_interleave(FRAME_TOKENS)
    num_before = 1 + len(frame)
    size = num_before + batch.text.shape[1]
    causal = torch.ones(size, size, dtype=torch.bool, device=device).tril()
    allowed = causal.expand(num_streams, size, size).clone()
    is_near = (frame[:, None] - frame) < batch.window[:, None, None]
    allowed[:, 1:num_before, 1:num_before] &= is_near
    owner = batch.owner.clamp(min=0)
    rows = owner[..., None].expand(-1, -1, num_frames)
    visible = batch.visible.gather(1, rows).repeat_interleave(FRAME_TOKENS, dim=2)
    allowed[:, num_before:, 1:num_before] = visible
    allowed[:, num_before:, num_before:] &= batch.owner[:, :, None] == batch.owner[:, None]
    return allowed


def retrieval_loss(
    queries: Float[Tensor, "streams sequence q_width"],
    keys: Float[Tensor, "streams sequence kv_width"],
    batch: StreamBatch,
    log_scale: Tensor,
    head_dim: int,
) -> Tensor:
    """InfoNCE of one layer over the questions that have evidence in the past."""
    num_streams, num_frames = batch.frame_positions.shape
    num_text, num_questions = batch.text.shape[1], batch.asked.shape[1]
    owned = F.one_hot(batch.owner.clamp(min=0), num_questions).float()
    owned = owned * ((batch.owner >= 0) & batch.is_question)[..., None]
    question = torch.einsum("btd,btq->bqd", queries[:, -num_text:].float(), owned)
    block = keys[:, 1:-num_text].float().view(num_streams, num_frames, FRAME_TOKENS, -1).mean(2)
    # Each KV head serves several query heads: repeat its key for every one of them.
    groups = queries.shape[-1] // keys.shape[-1]
    block = block.view(*block.shape[:2], -1, head_dim).repeat_interleave(groups, dim=2).flatten(2)
    similarity = F.normalize(question, dim=-1) @ F.normalize(block, dim=-1).transpose(1, 2)
    frame = torch.arange(num_frames, device=keys.device)
    is_past = frame <= batch.asked[..., None]
    scores = (similarity * log_scale.exp()).masked_fill(~is_past, FAR).log_softmax(-1)
    hits = scores.masked_fill(~batch.evidence, FAR).logsumexp(-1)
    has_evidence = batch.evidence.any(-1)
    return -(hits * has_evidence).sum() / has_evidence.sum().clamp(min=1)
