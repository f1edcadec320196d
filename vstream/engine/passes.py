"""Passes: serve what several works want of the model with one run of tower and decoder for all.

A *work* is a generator that yields what it wants, `Vision` or a `Pass`, and is sent the result. So
its driver decides what runs together: `alone` runs one work by itself, the scheduler many at once.
Tokens of different works follow one another in one sequence. Everything but attention is computed
token by token, and in attention each work's own step sees only its own tokens. So chunks of several
streams, questions of several askers and decode steps share one pass.

Source: selective batching of Orca (https://www.usenix.org/conference/osdi22/presentation/yu,
section 4.2), with prefill chunks beside decode steps as in Sarathi-Serve
(https://arxiv.org/abs/2403.02310, section 4).
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from encoders import Family, Frame, VisualTokens
from memory.policy_hooks import Tokens
from vstream.engine.decoder import Decoder, Step

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Vision:
    """Asks for the visual tokens of these blocks, each given by its frames."""

    family: Family
    groups: Sequence[Sequence[Frame]]


@dataclass(frozen=True, eq=False)
class Pass:
    """Asks for a run of the decoder over these tokens; `step` does the attention."""

    embeddings: Float[Tensor, "tokens d_model"]
    step: Step
    is_visual: Bool[Tensor, " tokens"] | None = None
    deepstack: Float[Tensor, "depth visual d_model"] | None = None
    num_logits: int = 0
    """The reply is the logits of this many last tokens; 0: the hidden states of all."""


Request = Vision | Pass
Work = Generator[Request, Any, Result]
"""Yields requests, is sent `list[VisualTokens]` or a tensor for each, returns its result."""


@dataclass(frozen=True)
class FastPath:
    """Faster passes of few tokens, same results. None: the pass must take the plain path."""

    decode: Callable[[Sequence[Step], Tensor], Sequence[Tensor | Exception | None]]
    """Takes the step and a token of each answer; returns the logits of each, or its error."""
    question: Callable[[Step, Tensor], Tensor | None]
    """Takes a question; returns its last token's logits. Raises what the plain pass raises."""


@torch.inference_mode()
def alone(decoder: Decoder, work: Work[Result]) -> Result:
    """Run `work` by itself, in the calling thread. Raises what it raises."""
    try:
        request = next(work)
        while True:
            try:
                if isinstance(request, Vision):
                    reply: Any = request.family.encode(request.groups)
                else:
                    reply = _passed(decoder, request)
            except Exception as error:  # noqa: BLE001  the work may have to clean up
                request = work.throw(error)
            else:
                request = work.send(reply)
    except StopIteration as end:
        result: Result = end.value
        return result


def see_together(wanted: Sequence[Vision]) -> list[list[VisualTokens] | Exception]:
    """Run one pass of each family's tower. If it fails, encode one by one: only some may fail."""
    replies: dict[int, list[VisualTokens] | Exception] = {}
    for family in {id(one.family): one.family for one in wanted}.values():
        places = [i for i, one in enumerate(wanted) if one.family is family]
        groups = [group for i in places for group in wanted[i].groups]
        try:
            tokens = iter(family.encode(groups))
            for i in places:
                replies[i] = [next(tokens) for _ in wanted[i].groups]
        except Exception:  # noqa: BLE001  encoding each by itself shows which it was
            replies.update({i: _seen(wanted[i]) for i in places})
    return [replies[i] for i in range(len(wanted))]


@torch.inference_mode()
def pass_together(
    decoder: Decoder, wanted: Sequence[Pass], fast: FastPath | None = None
) -> list[Tensor | Exception]:
    """Return the result of each pass, or the error of its step, which does not disturb the others.
    Decode steps take the `fast` path, if there is one; all others share one pass. If that is a
    single question, it takes the fast path too: launching kernels would be most of its time.
    """
    replies: dict[int, Tensor | Exception] = {}
    decoding = [i for i, one in enumerate(wanted) if len(one.embeddings) == one.num_logits == 1]
    if fast is not None and decoding:
        embeddings = torch.cat([wanted[i].embeddings for i in decoding])
        decoded = fast.decode([wanted[i].step for i in decoding], embeddings)
        found = zip(decoding, decoded, strict=True)
        replies = {i: reply for i, reply in found if reply is not None}
    others = [i for i in range(len(wanted)) if i not in replies]
    if others:
        passed = _passed_together(decoder, [wanted[i] for i in others], fast)
        replies.update(zip(others, passed, strict=True))
    return [replies[i] for i in range(len(wanted))]


def _passed_together(
    decoder: Decoder, wanted: Sequence[Pass], fast: FastPath | None
) -> list[Tensor | Exception]:
    if len(wanted) == 1:
        try:
            return [_passed(decoder, wanted[0], fast)]
        except Exception as error:  # noqa: BLE001  the work that wanted the pass gets it
            return [error]
    step = _SharedStep(wanted)
    try:
        hidden = decoder.forward(
            torch.cat([one.embeddings for one in wanted]),
            step,
            _joined_masks(wanted),
            joined_deepstack(wanted),
        )
        parts = hidden.split(step.counts)
        replies = _with_logits(decoder, wanted, parts)
    except Exception as error:  # noqa: BLE001  as above
        return [step.errors.get(i, error) for i in range(len(wanted))]
    return [step.errors.get(i, reply) for i, reply in enumerate(replies)]


class _SharedStep:
    """Gives each work's step its own tokens. A step that fails is left out from then on."""

    def __init__(self, wanted: Sequence[Pass]) -> None:
        self._steps = [one.step for one in wanted]
        self.counts = [len(one.embeddings) for one in wanted]
        self._bounds = list(pairwise(accumulate(self.counts, initial=0)))
        self.errors: dict[int, Exception] = {}

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        output = queries.new_zeros(*queries.shape[:2], values.shape[-1])
        for i, (start, end) in enumerate(self._bounds):
            if i in self.errors:
                continue
            q, k, v = (x[:, start:end] for x in (queries, keys, values))
            try:
                output[:, start:end] = self._steps[i].attend(layer, q, k, v, scale)
            except Exception as error:  # noqa: BLE001  the other works go on
                self.errors[i] = error
        return output


def _passed(decoder: Decoder, one: Pass, fast: FastPath | None = None) -> Tensor:
    if fast is not None and one.is_visual is None and one.num_logits == 1:
        logits = fast.question(one.step, one.embeddings)
        if logits is not None:
            return logits
    hidden = decoder.forward(one.embeddings, one.step, one.is_visual, one.deepstack)
    return decoder.logits(hidden[-one.num_logits :]) if one.num_logits else hidden


def _seen(one: Vision) -> list[VisualTokens] | Exception:
    try:
        return one.family.encode(one.groups)
    except Exception as error:  # noqa: BLE001  the work that wanted to see gets it
        return error


def _with_logits(
    decoder: Decoder, wanted: Sequence[Pass], parts: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Run the head once, and only over the tokens whose logits are wanted: logits are wide."""
    counts = {i: one.num_logits for i, one in enumerate(wanted) if one.num_logits}
    if not counts:
        return parts
    logits = decoder.logits(torch.cat([parts[i][-count:] for i, count in counts.items()]))
    replies = list(parts)
    for i, own in zip(counts, logits.split(list(counts.values())), strict=True):
        replies[i] = own
    return replies


def _joined_masks(wanted: Sequence[Pass]) -> Tensor:
    return torch.cat(
        [
            one.embeddings.new_zeros(len(one.embeddings), dtype=torch.bool)
            if one.is_visual is None
            else one.is_visual
            for one in wanted
        ]
    )


def joined_deepstack(wanted: Sequence[Pass | Tokens]) -> Tensor | None:
    """Concatenate those of all that have some."""
    parts = [one.deepstack for one in wanted if one.deepstack is not None]
    return torch.cat(parts, dim=1) if parts else None
