"""Objectives: the losses that train a model on streams with questions.

There are five: the words of the answers; what frames show, what changes in them and what a question
asks, each read by heads that are discarded after training; and retrieval as in ReKV (arXiv
2503.00540, section 3.2): in each layer the mean query of the question must come closer to the mean
keys of the evidence frames than to those of other frames (InfoNCE on the cosine, before RoPE).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import SmolVLMForConditionalGeneration

from eval.stream_world.vocabulary import COLORS, SCENES, shape_names
from eval.training.frames import MOTIONS, NO_DIGIT, UNKNOWN, FrameBatch, known_names
from eval.training.presets import FRAME_TOKENS, TIME_TOKENS, Preset
from eval.training.steps import (
    MINUS_INFINITY,
    FramesStep,
    PaddedQuestions,
    QuestionsStep,
    WordingsStep,
)
from eval.training.streams import StreamBatch
from eval.training.wordings import ASKED_KINDS, Meaning
from vstream.engine.decoder import ATTENTION_NAME, Step, register_attention
from vstream.engine.positions import Rope, rope_of


class FrameHeads(nn.Module):
    """Linear heads on visual tokens by cell: they make the tower encode what a frame shows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        num_shapes = len(shape_names())
        self.norm = nn.LayerNorm(width)
        self.names = nn.Linear(width, len(known_names()))
        self.colored_shapes = nn.Linear(width, num_shapes * len(COLORS))
        self.scene = nn.Linear(width, len(SCENES))
        self.digits = nn.Linear(width, 2 * (NO_DIGIT + 1))
        self.place = nn.Linear(width, 3)
        nn.init.constant_(self.names.bias, -6.0)  # nearly every name is absent
        nn.init.constant_(self.colored_shapes.bias, -5.0)

    def loss(self, visual: Float[Tensor, "frames cells d_model"], truth: FrameBatch) -> Tensor:
        """Return how far the visual tokens are from encoding what each frame shows."""
        tokens = self.norm(visual.float())
        whole = tokens.mean(1)
        names = _bits(self.names(tokens), truth.names)
        colored = _bits(self.colored_shapes(whole), truth.colored_shapes)
        scene = F.cross_entropy(self.scene(whole), truth.scene)
        digits = F.cross_entropy(self.digits(whole).view(-1, NO_DIGIT + 1), truth.digits.flatten())
        is_known = truth.place[..., 3:]
        distance = ((self.place(tokens) - truth.place[..., :3]).abs() * is_known).sum()
        place = distance / is_known.sum().clamp(min=1)
        total: Tensor = names + colored + 0.3 * scene + digits + 2 * place
        return total


class EventHeads(nn.Module):
    """Linear heads on a frame's hidden states halfway up the decoder, which must encode what
    changed since the previous frame, so that keys and values hold arrivals, departures and motion.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.came = nn.Linear(width, len(known_names()))
        self.went = nn.Linear(width, len(known_names()))
        self.motion = nn.Linear(width, len(MOTIONS))
        nn.init.constant_(self.came.bias, -6.0)
        nn.init.constant_(self.went.bias, -6.0)

    def loss(self, hidden: Float[Tensor, "frames cells d_model"], truth: FrameBatch) -> Tensor:
        """Return how far the hidden states are from encoding what changed."""
        states = self.norm(hidden.float())
        came = _bits(self.came(states), truth.came)
        went = _bits(self.went(states.mean(1)), truth.went)
        motion = F.cross_entropy(
            self.motion(states).flatten(0, 1), truth.motion.flatten(), ignore_index=UNKNOWN
        )
        total: Tensor = came + went + torch.nan_to_num(motion)
        return total


class MeaningHeads(nn.Module):
    """Linear heads at a question's end, halfway up: they read what is asked, before it looks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.kind = nn.Linear(width, len(ASKED_KINDS))
        self.names = nn.Linear(width, len(known_names()))
        nn.init.constant_(self.names.bias, -5.0)

    def loss(self, hidden: Float[Tensor, "questions d_model"], truth: Meaning) -> Tensor:
        """Return how far the hidden states are from encoding what is asked."""
        states = self.norm(hidden.float())
        kind = F.cross_entropy(self.kind(states), truth.kind)
        total: Tensor = kind + _bits(self.names(states), truth.names)
        return total


def _bits(logits: Tensor, truth: Tensor) -> Tensor:
    total = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
    return total / len(truth)


LENGTH_GROUPS = 3


class ReaderExtra(nn.Module):
    """Trained along with the decoder and discarded; `log_scale` belongs to the retrieval loss."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.events = EventHeads(width)
        self.meaning = MeaningHeads(width)
        self.log_scale = nn.Parameter(torch.tensor(2.3))


class TrainingReader:
    """The decoder under training, read the way the engine reads it."""

    def __init__(self, model: SmolVLMForConditionalGeneration, preset: Preset) -> None:
        register_attention()
        model.set_attn_implementation({"text_config": ATTENTION_NAME})
        self._preset = preset
        self._decoder = model.model.text_model
        self._head = model.lm_head
        self.rope: Rope = rope_of(self._decoder.rotary_emb, self._decoder.config)
        self.extra = ReaderExtra(preset.shape.width)
        self._halfway: list[Tensor] = []
        self._lower_half = self._decoder.layers[: len(self._decoder.layers) // 2]
        self._lower_half[-1].register_forward_hook(lambda _m, _i, out: self._halfway.append(out))

    def losses(
        self,
        batch: StreamBatch,
        visual: Float[Tensor, "frames cells d_model"],
        recent_frames: int,
        retrieve_frames: int,
    ) -> dict[str, Tensor]:
        """Read the frames, then ask every question with contexts of that size. `answer` is in nats
        per token, the others in their heads' units. Questions of similar length are asked together,
        to reduce padding.
        """
        memory, halfway = self.read(batch.times, visual)
        cells = halfway[1:].unflatten(0, (-1, FRAME_TOKENS))[:, TIME_TOKENS:]
        events = self.extra.events.loss(cells, batch.frames)
        by_length = (batch.text > 0).sum(1).argsort()
        total = torch.zeros(3, device=visual.device)
        for rows in by_length.chunk(LENGTH_GROUPS):
            group = self._ask_together(batch.of(rows), memory, recent_frames, retrieve_frames)
            total = total + group * (len(rows) / len(by_length))
        answer, retrieval, meaning = total
        if len(batch.wordings):
            alone = self._understand(batch.wordings, recent_frames + retrieve_frames)
            meaning = meaning + self.extra.meaning.loss(alone, batch.wordings_meaning)
        return {"answer": answer, "retrieval": retrieval, "events": events, "meaning": meaning}

    def _ask_together(
        self,
        batch: StreamBatch,
        memory: list[tuple[Tensor, Tensor]],
        recent_frames: int,
        retrieve_frames: int,
    ) -> Float[Tensor, "3"]:
        asked = PaddedQuestions(batch.own, batch.frame, batch.first, batch.wanted)
        step = QuestionsStep(self.rope, memory, asked, recent_frames, retrieve_frames)
        is_answer = batch.label != UNKNOWN
        logits = self.ask(batch.text.flatten(), step, is_answer.flatten()).float()
        answer = F.cross_entropy(logits, batch.label[is_answer])
        ends = is_answer.int().argmax(1)
        halfway = self._halfway.pop()[0].unflatten(0, is_answer.shape)
        understood = halfway[torch.arange(len(ends)), ends]
        meaning = self.extra.meaning.loss(understood, batch.meaning)
        layers = [retrieval_loss(cosines, batch, self.extra.log_scale) for cosines in step.cosines]
        return torch.stack([answer, torch.stack(layers).mean(), meaning])

    def read(
        self, times: Tensor, visual: Float[Tensor, "frames cells d_model"]
    ) -> tuple[list[tuple[Tensor, Tensor]], Float[Tensor, "tokens d_model"]]:
        """Return keys and values of [bos | frames] by layer, and the hidden states halfway up."""
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
        step: Step,
        wanted: Bool[Tensor, " tokens"] | None = None,
    ) -> Float[Tensor, "tokens vocabulary"]:
        """Return the logits after each token of the questions, or only after the wanted ones."""
        hidden = self._forward(self._decoder.embed_tokens(text), step)
        logits: Tensor = self._head(hidden if wanted is None else hidden[wanted])
        return logits

    def _understand(
        self, text: Int[Tensor, "wordings text"], num_frames: int
    ) -> Float[Tensor, "wordings d_model"]:
        """Return hidden states halfway up at the questions' ends, `num_frames` away from bos."""
        bos = text.new_full((len(text), 1), self._decoder.config.bos_token_id)
        text = torch.cat([bos, text], dim=1)
        step = WordingsStep(self.rope, len(text), text.shape[1], num_frames)
        hidden = self._decoder.embed_tokens(text).flatten(0, 1)[None]
        no_rotation = torch.ones_like(hidden[..., :1]), torch.zeros_like(hidden[..., :1])
        for layer in self._lower_half:
            hidden = layer(hidden, position_embeddings=no_rotation, step=step)
        self._halfway.clear()
        ends = (text > 0).sum(1) - 1
        last: Tensor = hidden[0].unflatten(0, text.shape)[torch.arange(len(text)), ends]
        return last

    def _forward(self, embeddings: Float[Tensor, "tokens d_model"], step: Step) -> Tensor:
        zeros = torch.zeros(1, len(embeddings), dtype=torch.long, device=embeddings.device)
        hidden: Tensor = self._decoder(
            inputs_embeds=embeddings[None], position_ids=zeros, use_cache=False, step=step
        ).last_hidden_state[0]
        return hidden


def retrieval_loss(
    cosines: Float[Tensor, "questions frames"], batch: StreamBatch, log_scale: Tensor
) -> Tensor:
    """Return InfoNCE of one layer over questions with evidence in the past: each evidence frame
    against the frames that are neither evidence nor related to it.
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
