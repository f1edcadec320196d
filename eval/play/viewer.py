"""Viewer: a question at a moment of a playing video in, what a policy or a baseline says out."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from eval.play.settings import PlaySettings
from eval.stream_benchmark.block_choice import spread_to_the_ends
from eval.stream_benchmark.caption_memory import CaptionMemory
from eval.stream_benchmark.policy import LAST_FRAMES, Policy, context_frames
from vstream import Answer, Question, Session, VideoLLM, open_session
from vstream.answer import QueryHandler
from vstream.decoding.token_choice import TokenChoice
from vstream.engine import MemoryView
from vstream.sources import VideoFile
from vstream.sources.video_file import SAME_MOMENT_S

_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Said:
    """One answer. `seen_s`: start, end and score of every block that it was computed from."""

    text: str | None
    newest_frame_s: float | None = None
    first_token_ms: float | None = None
    context_tokens: int | None = None
    is_cut: bool = False
    seen_s: tuple[tuple[float, float, float], ...] = ()
    error: str | None = None


class Viewer(Protocol):
    """Asked in order of time, when all frames up to `question.at_s` and no later have been shown.

    `at_s` None is the end of the video.
    """

    def ask(self, question: Question) -> Said: ...


class SessionViewer:
    """Asks the session that watches. The default policy asks as the service does: `Session.ask`."""

    def __init__(self, session: Session, policy: Policy, settings: PlaySettings) -> None:
        model, asked = session.model, settings.asked(policy, session.model)
        self._ask = session.ask
        if (asked.name, asked.settings) != (session.policy.name, session.policy.settings):
            prefix, config = session.prefill.prefix, settings.configured(policy).engine
            handler = QueryHandler(model, session.memory, prefix, asked, config)
            self._ask = handler.ask  # type: ignore[assignment]

    def ask(self, question: Question) -> Said:
        return _said(self._ask(question).answer)


class CaptionViewer:
    """Sees the newest frames, and of the past the captions that are most like the question.

    They are turns of a dialogue, or sentences before the question for a model that reads none.
    """

    def __init__(self, viewer: SessionViewer, session: Session) -> None:
        self._viewer = viewer
        self._session = session
        self._captions = CaptionMemory()
        self._told_to = 0

    def ask(self, question: Question) -> Said:
        """What came since the last question is captioned first, each moment as it was then."""
        with self._session.model.turn:
            newest_s = self._session.memory.stats().to_s
        end = int(newest_s if question.at_s is None else min(newest_s, question.at_s)) + 1
        self._captions.tell(self._session, range(self._told_to, end))
        self._told_to = max(self._told_to, end)
        found = self._captions.most_like(question.text, float(end))
        if self._session.model.family.recommended.reads_dialogue:
            turns = tuple(caption.as_turn() for caption in found)
            return self._viewer.ask(replace(question, dialogue=turns))
        words = " ".join(caption.as_sentence() for caption in found)  # it would leave turns out
        return self._viewer.ask(replace(question, text=f"{words} {question.text}".strip()))


class FewFramesViewer:
    """Encodes a few frames of the video by themselves for every question, then forgets them."""

    def __init__(
        self,
        video: VideoFile,
        from_s: float,
        model: VideoLLM,
        policy: Policy,
        settings: PlaySettings,
    ) -> None:
        self._video = video
        self._from_s = from_s
        self._model = model
        self._policy = policy
        self._settings = settings

    def ask(self, question: Question) -> Said:
        """The first token waits for the frames, too: they are encoded for this question alone."""
        end_s = self._video.duration_s if question.at_s is None else question.at_s
        found = self._video.frames_at(self._moments_s(end_s))
        frames = list(
            {f.stream_s: f for f in found if self._from_s - _ROUNDING_S <= f.stream_s}.values()
        )
        config = self._settings.configured(self._policy)
        policy = self._settings.asked(self._policy, self._model)
        with open_session(config, self._model, "few-frames", policy) as session:
            started = time.perf_counter()
            session.push(frames)
            pushed_ms = (time.perf_counter() - started) * 1000
            said = _said(session.ask(question).answer)
        assert said.first_token_ms is not None
        return replace(said, first_token_ms=pushed_ms + said.first_token_ms)

    def _moments_s(self, end_s: float) -> list[float]:
        """The ticks of the sampling rate that are chosen, none after `end_s`."""
        fps = self._model.sample_fps
        end_s = min(end_s, self._video.duration_s)
        ticks = range(
            math.ceil(self._from_s * fps - _ROUNDING_S), int(end_s * fps + _ROUNDING_S) + 1
        )
        if self._policy.base == "frames":
            chosen = spread_to_the_ends(ticks, context_frames(self._model))
        else:
            chosen = list(ticks[-LAST_FRAMES:])
        newest_s = end_s - SAME_MOMENT_S + _ROUNDING_S  # a frame that comes so soon counts as there
        return [min(tick / fps, newest_s) for tick in chosen] or [newest_s]


class BlindViewer:
    """Baseline: the same model asked without a single frame; `session` has seen nothing.

    A session refuses that; so the question is prefilled by the session's own read path over no
    blocks (the context is the prefix alone) and decoded here.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def ask(self, question: Question) -> Said:
        started = time.perf_counter()
        with self._session.model.turn, torch.inference_mode():
            return self._answered(question, started)

    def _answered(self, question: Question, started: float) -> Said:
        decoder, family = self._session.model.decoder, self._session.model.family
        nothing: Sequence[Sequence[int]] = [[]] * decoder.num_layers
        tokens = family.question(
            question.text, (), question.context, answer_start=question.answer_start
        )
        prefilled = self._session.questions.run(tokens, MemoryView((), 0), nothing)
        context_tokens = prefilled.context.num_tokens
        choice, logits = TokenChoice(question.decoding, family), prefilled.logits
        ids: list[int] = []
        first_ms, is_done = 0.0, False
        limit = question.decoding.max_tokens or self._session.config.max_answer_tokens
        while not is_done and len(ids) < limit:
            token, _ = choice.choose(logits[-1])
            first_ms = first_ms or (time.perf_counter() - started) * 1000
            is_done = choice.is_done(token)
            if token not in family.stop_ids:
                ids.append(token)
            if not is_done and len(ids) < limit:
                embedded = decoder.embed(torch.tensor([token], device=decoder.device))
                logits = decoder.logits(decoder.forward(embedded, prefilled.context))
        return Said(
            choice.text(ids),
            first_token_ms=first_ms,
            context_tokens=context_tokens,
            is_cut=not is_done,
        )


def _said(answer: Answer) -> Said:
    seen = sorted((e.start_s, e.end_s, e.score) for e in answer.evidence)
    return Said(
        answer.text,
        newest_frame_s=answer.newest_frame_s,
        first_token_ms=answer.timings_ms.ttft,
        context_tokens=answer.context_tokens,
        is_cut=answer.truncated,
        seen_s=tuple(seen),
    )
