"""The query handler: a question in, an answer out token by token, ending with its evidence."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from jaxtyping import Float
from torch import Tensor

from encoders import Family
from memory import MemoryReader
from vstream.engine.answer_context import AnswerContext
from vstream.engine.config import EngineSettings
from vstream.engine.prefill import LayerKV
from vstream.engine.question_prefill import BlocksByLayer, PrefilledQuestion, QuestionPrefill
from vstream.engine.rekv import RekvContext
from vstream.engine.retrieval import MemoryView, Retriever, view_at
from vstream.errors import ModelError, QuestionError
from vstream.named_time import named_time
from vstream.question import Answer, Evidence, Judgement, Question, Timings
from vstream.video_llm import VideoLLM

MOMENT_S = 1.0
"""A question about a moment sees the newest block that had ended by then, and those so shortly
before it.
"""
MOMENT_REACH_S = 60.0
"""Blocks that ended longer before a moment say nothing about it."""


@dataclass(frozen=True, eq=False)
class _Reading:
    """A question that has been prefilled over what it may see."""

    prefilled: PrefilledQuestion
    newest_frame_s: float
    recent_ids: Sequence[int]
    evidence: tuple[Evidence, ...]


class QueryHandler:
    """Answers questions about one stream while it is being ingested. Reads, never writes."""

    def __init__(
        self, model: VideoLLM, memory: MemoryReader, prefix: LayerKV, settings: EngineSettings
    ) -> None:
        """`prefix` is what stands before the first block, see `vstream.engine.prefill`."""
        self._decoder = model.decoder
        self._family = model.family
        self._turn = model.turn
        self._memory = memory
        self._settings = settings
        context = (model.decoder, prefix, memory)
        opener: Callable[[int], AnswerContext] = partial(AnswerContext, *context)
        if settings.rekv_window_tokens is not None:
            opener = partial(RekvContext, *context, n_local=settings.rekv_window_tokens)
        self.prefill = QuestionPrefill(model.decoder, memory, opener, settings)

    def ask(self, question: Question, retrieved: BlocksByLayer | None = None) -> "AnswerStream":
        """Prefill `question`; the answer is decoded as the result is iterated.

        `retrieved` fixes the retrieved block ids of every layer. Raises QuestionError for an empty
        question, one that the context cannot hold, or one about a moment before the first frame.
        A question that names a time sees that alone, unless it has a `from_s` or `retrieved` of its
        own; see `vstream.named_time`.
        """
        asked = time.perf_counter()
        _refuse_empty(question.text)
        follows_times = self._settings.follow_times and retrieved is None
        reading = self._read(question, retrieved, follows_times)
        return AnswerStream(
            question,
            reading.newest_frame_s,
            reading.evidence,
            reading.prefilled.retrieved,
            reading.recent_ids,
            asked,
            self._decode(reading.prefilled),
            self._family,
            self._settings.max_answer_tokens,
        )

    def judge(self, watch: str, at_s: float | None = None) -> Judgement:
        """How probable it is that what the standing question `watch` waits for is the case now.

        It is read as any question is, in the family's `watch_prompt`, and not answered:

            p = P(first token is yes) / (P(first token is yes) + P(first token is no))

        summed over all spellings of the family's yes-words and no-words. Of a model that was
        trained to be silent it is P(first token is not silence), see respond_policy. `at_s` as in
        Question; raises what `ask` raises, and ModelError where the tokenizer cannot tell yes from
        no.
        """
        _refuse_empty(watch)
        prompt = self._family.recommended.watch_prompt.replace("{watch}", watch)
        reading = self._read(Question(prompt, at_s))
        return Judgement(
            at_s=reading.newest_frame_s if at_s is None else at_s,
            newest_frame_s=reading.newest_frame_s,
            probability=_speaking_probability(reading.prefilled.logits[-1], self._family),
            evidence=reading.evidence,
        )

    def _read(
        self,
        question: Question,
        retrieved: BlocksByLayer | None = None,
        follows_times: bool = False,
    ) -> _Reading:
        tokens = self._family.question(question.text, question.dialogue)
        with self._turn:
            self._memory.refresh()
            view = view_at(
                self._memory, question.at_s, self._settings.recent_blocks, question.from_s
            )
            if follows_times and question.from_s is None and view.ids:
                view = self._named_view(question, view)
            if not view.ids:
                raise QuestionError(_nothing_seen(question, self._memory))
            prefilled = self.prefill.run(tokens, view, retrieved)
            retriever = Retriever(self._memory, view, self._settings)
            return _Reading(
                prefilled,
                newest_frame_s=self._memory.info(view.ids[-1]).end_s,
                recent_ids=view.recent_ids,
                evidence=_evidence(self._memory, view, retriever, prefilled),
            )

    def _named_view(self, question: Question, view: MemoryView) -> MemoryView:
        """What is left of `view` if the question names a time; all of it if it names none, or one
        of which nothing is kept.
        """
        newest_s = self._memory.info(view.ids[-1]).end_s
        named = named_time(question.text, question.at_s if question.at_s is not None else newest_s)
        if named is None:
            return view
        from_s, to_s = named.from_s, named.to_s
        if named.is_moment:
            assert to_s is not None
            before = self._memory.visible(to_s)
            if not before or self._memory.info(before[-1]).end_s < to_s - MOMENT_REACH_S:
                return view
            from_s = self._memory.info(before[-1]).end_s - MOMENT_S
        at_s = question.at_s if to_s is None else to_s
        stretch = view_at(self._memory, at_s, self._settings.recent_blocks, from_s)
        return stretch if stretch.ids else view

    def _decode(self, prefilled: PrefilledQuestion) -> Iterator[tuple[int, float]]:
        """Greedy token ids and their probabilities, at most `max_answer_tokens` and a stop."""
        logits = prefilled.logits
        for _ in range(self._settings.max_answer_tokens):
            token = logits[-1:].argmax(dim=-1)
            yield int(token), float(logits[-1].float().softmax(dim=0)[token])
            if int(token) in self._family.stop_ids:
                return
            with self._turn:
                hidden = self._decoder.forward(self._decoder.embed(token), prefilled.context)
                logits = self._decoder.logits(hidden)


class AnswerStream:
    """An answer being decoded: iterate it for pieces of text, then read `answer`."""

    def __init__(
        self,
        question: Question,
        newest_frame_s: float,
        evidence: tuple[Evidence, ...],
        retrieved: BlocksByLayer,
        recent_ids: Sequence[int],
        asked: float,
        tokens: Iterator[tuple[int, float]],
        family: Family,
        max_tokens: int,
    ) -> None:
        self._question = question
        self._newest_frame_s = newest_frame_s
        self._asked = asked
        self._tokens = tokens
        self._family = family
        self._max_tokens = max_tokens
        self._pieces = self._decode_text()
        self._answer: Answer | None = None
        self.evidence = evidence
        """Known before the first word: what the answer is computed from, best score first."""
        self.retrieved = retrieved
        """The retrieved block ids of every layer, the recent window left out."""
        self.recent_ids = recent_ids
        """Those of the recent window, the same in all layers."""

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def _decode_text(self) -> Iterator[str]:
        ids: list[int] = []
        shown = ""
        first_ms = 0.0
        confidence = 1.0
        for token, probability in self._tokens:
            first_ms = first_ms or self._elapsed_ms()
            confidence = min(confidence, probability)
            if token in self._family.stop_ids:
                break
            ids.append(token)
            text = self._family.text(ids)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):  # a letter may span tokens
                yield text[len(shown) :]
                shown = text
        total_ms = self._elapsed_ms()
        at_s = self._question.at_s
        self._answer = Answer(
            question=self._question,
            text=self._family.text(ids).strip(),
            token_ids=tuple(ids),
            asked_at_s=self._newest_frame_s if at_s is None else at_s,
            newest_frame_s=self._newest_frame_s,
            evidence=self.evidence,
            timings_ms=Timings(ttft=first_ms or total_ms, total=total_ms),
            truncated=len(ids) == self._max_tokens,
            confidence=confidence,
        )

    @property
    def answer(self) -> Answer:
        """The whole answer; decodes what is left of it if the stream was not read to its end."""
        for _ in self._pieces:
            pass
        assert self._answer is not None, "the stream of the answer was closed before its end"
        return self._answer

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._asked) * 1000


def _evidence(
    memory: MemoryReader, view: MemoryView, retriever: Retriever, prefilled: PrefilledQuestion
) -> tuple[Evidence, ...]:
    """Every visual block of the context, best score first."""
    used = Counter(block for ids in prefilled.retrieved for block in ids)
    used.update(dict.fromkeys(view.recent_ids, len(prefilled.retrieved)))
    cosines = retriever.mean_cosines(prefilled.queries, list(used)).tolist()
    found = []
    for (block_id, num_layers), score in zip(used.items(), cosines, strict=True):
        info = memory.info(block_id)
        found.append(
            Evidence(
                block_id=block_id,
                start_s=info.start_s,
                end_s=info.end_s,
                captured_at=info.captured_at,
                score=score,
                num_layers=num_layers,
                thumbnail=memory.thumbnail(block_id),
            )
        )
    return tuple(sorted(found, key=lambda e: (-e.score, e.block_id)))


def _speaking_probability(logits: Float[Tensor, " vocabulary"], family: Family) -> float:
    """How probable it is that there is something to tell."""
    silence = family.first_tokens(family.recommended.silence_words)
    if not silence:
        return _yes_probability(logits, family)
    return 1 - float(logits.float().softmax(dim=0)[sorted(silence)].sum())


def _yes_probability(logits: Float[Tensor, " vocabulary"], family: Family) -> float:
    """The share of yes in what the first token says of yes and no."""
    yes = family.first_tokens(family.recommended.yes_words)
    no = family.first_tokens(family.recommended.no_words)
    if not (yes - no and no - yes):
        raise ModelError(
            f"a standing question needs answers that differ in their first token: {family.name} "
            f"writes {family.recommended.yes_words} and {family.recommended.no_words} alike"
        )
    # A token that opens both says nothing; the difference of logsumexps is the log of yes / no.
    says_yes = logits[sorted(yes - no)].float().logsumexp(dim=0)
    says_no = logits[sorted(no - yes)].float().logsumexp(dim=0)
    return float((says_yes - says_no).sigmoid())


def _refuse_empty(text: str) -> None:
    if not text.strip():
        raise QuestionError("the question is empty: write what you want to know")


def _nothing_seen(question: Question, memory: MemoryReader) -> str:
    if question.from_s is not None and memory.visible(None):
        stats = memory.stats()
        until = "now" if question.at_s is None else f"{question.at_s:g} s"
        return (
            f"nothing is kept of the stretch from {question.from_s:g} s to {until}: the memory "
            f"holds the stream from {stats.from_s:g} s to {stats.to_s:g} s"
        )
    if memory.first_block and question.at_s is not None:
        return (
            f"what was seen by {question.at_s:g} s is no longer kept: the memory holds the stream "
            f"from {memory.stats().from_s:g} s on. Ask about a later moment; a larger budget keeps "
            "more"
        )
    if question.at_s is None:
        return "no frame has been seen yet: ask again when the stream has started"
    return f"no frame had been seen at {question.at_s:g} s: ask about a later moment"
