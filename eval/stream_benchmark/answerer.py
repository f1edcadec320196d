"""Answerer: a question about a stream in, what one policy or baseline replies out."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch

from eval.stream_benchmark.block_choice import (
    BlockTimes,
    evidence_blocks,
    recall_by_layer,
)
from eval.stream_benchmark.caption_memory import CaptionMemory
from eval.stream_benchmark.evidence_memory import EvidenceMemory
from eval.stream_benchmark.exam import ExamStream
from eval.stream_benchmark.policy import Policy
from eval.stream_benchmark.record import Reply
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_world import Question
from vstream import Question as TimedQuestion
from vstream import Session
from vstream.answer import QueryHandler
from vstream.engine import MemoryView, view_at


class Answerer(Protocol):
    """Asked any number of questions, in any order; `captions` are what it keeps of the stream."""

    captions: CaptionMemory | None

    def reply(self, question: Question) -> Reply: ...


class MemoryAnswerer:
    """Asks a session over the whole stream; `at_s` hides what came after the question."""

    captions: CaptionMemory | None = None

    def __init__(self, session: Session, policy: Policy) -> None:
        self._session = session
        self._policy = policy
        self._times = BlockTimes.of(session.memory)
        self._evidence = EvidenceMemory(session.memory)
        self._told = QueryHandler(
            session.model,
            self._evidence.reader,
            session.prefill.prefix,
            session.policy,
            session.config,
        )

    def reply(self, question: Question) -> Reply:
        session = self._session
        asked = TimedQuestion(question.text, float(question.asked_s))
        view = view_at(session.memory, asked.at_s, session.policy.recent_blocks())
        if self._policy.base == "oracle":
            self._evidence.wanted = evidence_blocks(
                self._times, view, question.evidence, session.policy.retrieve_blocks()
            )
            stream = self._told.ask(asked)
        else:
            stream = session.ask(asked)
        answer = stream.answer
        context = [[*blocks, *stream.recent_ids] for blocks in stream.retrieved]
        recall = None
        if question.evidence:
            recall = tuple(recall_by_layer(self._times, question.evidence, context))
        return Reply(answer.text, answer.timings_ms.ttft, recall)


class CaptionAnswerer:
    """Reads the newest frames, and of the past the captions that are most like the question.

    They are turns of a dialogue, or sentences before the question for a model that reads none.
    """

    def __init__(self, session: Session, captions: CaptionMemory) -> None:
        """`session` retrieves nothing."""
        self._session = session
        self.captions: CaptionMemory | None = captions
        self._captions = captions

    def reply(self, question: Question) -> Reply:
        """Finding the captions counts as time to the first token."""
        started = time.perf_counter()
        told = self._captions.most_like(question.text, float(question.asked_s))
        found_ms = (time.perf_counter() - started) * 1000
        model = self._session.model
        asked = TimedQuestion(question.text, float(question.asked_s))
        if model.family.recommended.reads_dialogue:
            asked = replace(asked, dialogue=tuple(caption.as_turn() for caption in told))
        else:  # it would leave them out
            words = " ".join(caption.as_sentence() for caption in told)
            asked = replace(asked, text=f"{words} {question.text}".strip())
        answer = self._session.ask(asked).answer
        return Reply(answer.text, found_ms + answer.timings_ms.ttft)


class FewFramesAnswerer:
    """Encodes a few frames by themselves for every question, then forgets them."""

    captions: CaptionMemory | None = None

    def __init__(self, stream: ExamStream, policy: Policy, blocks: StreamBlocks) -> None:
        self._stream = stream
        self._policy = policy
        self._blocks = blocks

    def reply(self, question: Question) -> Reply:
        """The first token waits for the frames, too: they are encoded for this question alone."""
        seconds = self._blocks.few_seconds(self._policy, question.asked_s)
        frames = self._blocks.frames(self._stream, seconds)
        with self._blocks.open_empty(self._policy) as session:
            started = time.perf_counter()
            session.push(frames)
            pushed_ms = (time.perf_counter() - started) * 1000
            reply = MemoryAnswerer(session, self._policy).reply(question)
        assert reply.ttft_ms is not None
        return Reply(reply.text, pushed_ms + reply.ttft_ms, reply.recall)


class MajorityAnswerer:
    """Baseline: the answer that is most frequent for the kind in other streams."""

    captions: CaptionMemory | None = None

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    def reply(self, question: Question) -> Reply:
        return Reply(self._texts.get(question.kind, ""))


class LanguageAnswerer:
    """Baseline: the same model, asked without a single frame.

    A session refuses that; so the question is prefilled by the session's own read path over no
    blocks (the context is the prefix alone) and decoded greedily here.
    """

    captions: CaptionMemory | None = None

    def __init__(self, session: Session) -> None:
        """`session` has seen nothing."""
        self._session = session

    @torch.inference_mode()
    def reply(self, question: Question) -> Reply:
        decoder, family = self._session.model.decoder, self._session.model.family
        nothing: Sequence[Sequence[int]] = [[]] * decoder.num_layers
        tokens = family.question(question.text)
        prefilled = self._session.questions.run(tokens, MemoryView((), 0), nothing)
        logits = prefilled.logits
        ids: list[int] = []
        while len(ids) < self._session.config.max_answer_tokens:
            token = logits[-1:].argmax(dim=-1)
            if int(token) in family.stop_ids:
                break
            ids.append(int(token))
            logits = decoder.logits(decoder.forward(decoder.embed(token), prefilled.context))
        return Reply(family.text(ids).strip())
