"""Objectives: a model and streams with questions in, the losses that train it out.

Four of them: the words of the answers; what frames show and what changes in them (heads.py); and
retrieval as ReKV does it (arXiv 2503.00540, section 3.2): in each layer the mean query of the
question must come closer to the mean keys of the frames that hold the evidence than to those of
other frames (InfoNCE on the cosine, before RoPE).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import SmolVLMForConditionalGeneration

from eval.training.frames import UNKNOWN
from eval.training.heads import EventHeads
from eval.training.presets import FRAME_TOKENS, TIME_TOKENS, Preset
from eval.training.steps import MINUS_INFINITY, Asked, FramesStep, QuestionsStep
from eval.training.streams import StreamBatch
from vstream.engine.attention import ATTENTION_NAME, Step, register_attention
from vstream.engine.rope import Rope, rope_of


@dataclass(frozen=True, eq=False)
class StreamLosses:
    """`answer` in nats a token, the others as their heads count them."""

    answer: Tensor
    retrieval: Tensor
    events: Tensor


class StreamReader:
    """The decoder under training, read the way the engine reads it."""

    def __init__(self, model: SmolVLMForConditionalGeneration, preset: Preset) -> None:
        register_attention()
        model.set_attn_implementation({"text_config": ATTENTION_NAME})
        self._preset = preset
        self._decoder = model.model.text_model
        self._head = model.lm_head
        self.rope: Rope = rope_of(self._decoder.rotary_emb, self._decoder.config)
        self.extra = EventHeads(preset.shape.width)
        self._halfway: list[Tensor] = []
        halfway = self._decoder.layers[len(self._decoder.layers) // 2 - 1]
        halfway.register_forward_hook(lambda _m, _i, out: self._halfway.append(out))

    def losses(
        self,
        batch: StreamBatch,
        visual: Float[Tensor, "frames cells d_model"],
        recent_frames: int,
        retrieve_frames: int,
    ) -> StreamLosses:
        """Read the frames, then ask every question with contexts of that size."""
        memory, halfway = self.read(batch.times, visual)
        cells = halfway[1:].unflatten(0, (-1, FRAME_TOKENS))[:, TIME_TOKENS:]
        events = self.extra.loss(cells, batch.frames)
        asked = Asked(batch.text > 0, batch.own, batch.frame, batch.first, batch.wanted)
        step = QuestionsStep(self.rope, memory, asked, recent_frames, retrieve_frames)
        label = batch.label.flatten()
        logits = self.ask(batch.text.flatten(), step, label != UNKNOWN).float()
        answer = F.cross_entropy(logits, label[label != UNKNOWN])
        layers = [retrieval_loss(cosines, batch, self.extra.log_scale) for cosines in step.cosines]
        return StreamLosses(answer, torch.stack(layers).mean(), events)

    def read(
        self, times: Tensor, visual: Float[Tensor, "frames cells d_model"]
    ) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "tokens d_model"]]:
        """Keys and values of [bos | frames] by layer, and the hidden states halfway up."""
        preset, embed = self._preset, self._decoder.embed_tokens
        bos = embed(times.new_full((1,), self._decoder.config.bos_token_id))
        frames = torch.cat([embed(times), visual.to(bos.dtype)], dim=1).flatten(0, 1)
        step = FramesStep(self.rope, preset.stream_s, preset.window_stride, preset.window_strides)
        self._halfway.clear()
        self._forward(torch.cat([bos, frames]), step)
        return step.captured, self._halfway.pop(0)[0]

    def ask(
        self,
        text: Int[Tensor, " tokens"],
        step: QuestionsStep,
        wanted: Bool[Tensor, " tokens"] | None = None,
    ) -> Float[Tensor, "tokens vocabulary"]:
        """The logits after each token of the questions, or after the wanted ones alone."""
        hidden = self._forward(self._decoder.embed_tokens(text), step)
        logits: Tensor = self._head(hidden if wanted is None else hidden[wanted])
        return logits

    def _forward(self, embeddings: Float[Tensor, "tokens d_model"], step: Step) -> Tensor:
        zeros = torch.zeros(1, len(embeddings), dtype=torch.long, device=embeddings.device)
        hidden: Tensor = self._decoder(
            inputs_embeds=embeddings[None], position_ids=zeros, use_cache=False, step=step
        ).last_hidden_state[0]
        return hidden


def retrieval_loss(
    cosines: Float[Tensor, "questions frames"], batch: StreamBatch, log_scale: Tensor
) -> Tensor:
    """InfoNCE of one layer over the questions that have evidence in the past.

    Each frame of evidence stands against the frames that are neither evidence nor related to it.
    """
    frame = torch.arange(cosines.shape[1], device=cosines.device)
    in_sight = (frame >= batch.first[:, None]) & (frame <= batch.frame[:, None])
    scores = cosines * log_scale.exp()
    others = scores.masked_fill(~in_sight | batch.related, MINUS_INFINITY).logsumexp(1)
    against = torch.logaddexp(scores, others[:, None]) - scores
    num_evidence = batch.evidence.sum(1)
    by_question = (against * batch.evidence).sum(1) / num_evidence.clamp(min=1)
    has_evidence = num_evidence > 0
    return (by_question * has_evidence).sum() / has_evidence.sum().clamp(min=1)
