"""QueryHandler: answers a question token by token and ends with the evidence."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

import torch

from encoders import TextTokens, Turn
from encoders.families.text import Text
from memory import Encoding, KVMemoryError, MemoryPolicy, MemoryReader
from memory.policies import instead_of
from memory.policy_hooks import NOTHING, Passage, Query, Wish
from vstream.answer_stream import Afterwards, AnswerStream, Reading, TokenEvent, TokenEvents
from vstream.cited_spans import cited_spans
from vstream.decoding.token_choice import Decoding, TokenChoice
from vstream.device.asker import Asker
from vstream.device.work import Job, WorkKind
from vstream.engine.answer_context import AnswerContext
from vstream.engine.config import EngineConfig
from vstream.engine.decoder import Decoder
from vstream.engine.infllm import InfllmContext
from vstream.engine.kept_dialogue import kept_dialogue
from vstream.engine.passes import Pass, Work
from vstream.engine.prefill import LayerKV
from vstream.engine.question_prefill import BlocksByLayer, PrefilledQuestion, QuestionPrefill
from vstream.engine.rekv import RekvContext
from vstream.engine.retrieval import MemoryView, view_at
from vstream.engine.word_attention import layers_at
from vstream.errors import QuestionError
from vstream.models.video_llm import VideoLLM
from vstream.planning.planner import planned, time_question_of
from vstream.question import Basis, Evidence, Judgement, Question, Saying
from vstream.read_while_written import read_while_written
from vstream.search.finding import EFFORTS
from vstream.strange_pictures import strange_reason
from vstream.times.named_view import NamedView, named_view
from vstream.yes_no import speaking_probability

SAID_S = 6.0
"""A sentence about a moment describes this many seconds up to it."""
_SAID_TOKENS = 48


class QueryHandler:
    """Answers questions about one stream during ingestion. Reads the memory, never writes it."""

    def __init__(
        self,
        model: VideoLLM,
        memory: MemoryReader,
        prefix: LayerKV,
        policy: MemoryPolicy,
        config: EngineConfig,
    ) -> None:
        """`prefix` is what precedes the first block; see `vstream.engine.prefill`."""
        self.model = model
        self.memory = memory
        self._decoder = model.decoder
        self._family = model.family
        self._scheduler = model.scheduler
        self._policy = policy
        self._prefix = prefix
        self._config = config
        self._open_context = _contexts(policy.encoding(), model.decoder, prefix, memory)
        depths = model.family.recommended.cited_depths
        self._cited_layers = layers_at(depths, model.decoder.num_layers)
        self.questions = self._prefill_under(policy)
        self._known = {policy.name: (policy, self.questions)}
        policy.prepare("")

    def ask(self, question: Question | str, retrieved: BlocksByLayer | None = None) -> AnswerStream:
        """Prefill `question` and start decoding; iterate the result to read the answer.

        `retrieved` fixes the retrieved block ids of every layer. Unless it is given, a question
        that names a time sees only that time; see `vstream.times.named_view`, also for what it
        refuses. A question about time is answered from spans that are found first, and then all of
        the answer is there at once; see `vstream.planning.planner`. Raises QuestionError for an
        empty question, one that the context cannot hold, or one about a moment before the first
        frame; BusyError if too many questions or schemas wait; CancelledError if the asker leaves.
        """
        question = Question(question) if isinstance(question, str) else question
        _refuse_empty(question.text)
        asked = time.perf_counter()
        policy, _ = self._chosen(question.policy)  # not in the device's thread: loading is slow
        if retrieved is None and (answer := self._planned(question, policy, asked)) is not None:
            return answer
        policy.prepare(question.text)
        choice = TokenChoice(question.decoding, self._family, question.asker)

        def begin() -> AnswerStream:
            """May run again with the same `choice`: if it fails, no token has been chosen yet."""
            events: TokenEvents = SimpleQueue()
            work = self._answering(question, retrieved, choice, events)
            job = self._scheduler.submit(work, WorkKind.ASK, asker=question.asker)
            job.add_done_callback(lambda ended: events.put(None))
            reading = events.get()
            if not isinstance(reading, Reading):
                job.result()
                raise AssertionError("an answer has ended that never began")
            return AnswerStream(question, reading, events, job, asked, choice)

        return read_while_written(begin)

    def judge(self, condition: str, at_s: float | None = None) -> Judgement:
        """Return how probable it is that an alert's `condition` is met now.

        The condition is read like a question, in the family's `judge_prompt`, but not answered:

            p = P(first token is yes) / (P(first token is yes) + P(first token is no))

        summed over all spellings of the family's yes-words and no-words. For a model that was
        trained to be silent, p = P(first token is not silence); see `vstream.speaking.silence`.
        `at_s` is as in Question. Raises what `ask` raises, and ModelError if the tokenizer cannot
        tell yes from no.
        """
        _refuse_empty(condition)
        return read_while_written(lambda: self.begin_judging(condition, at_s).result())

    def begin_judging(self, condition: str, at_s: float | None = None) -> Job[Judgement]:
        """Like `judge`, but without waiting, so that many conditions are judged in one pass."""
        prompt = self._family.recommended.judge_prompt.replace("{condition}", condition)
        self._policy.prepare(prompt)
        return self._scheduler.submit(self._judging(prompt, at_s), WorkKind.JUDGE)

    def begin_describing(self, wish: Wish, asker: Asker | None = None) -> Job[str]:
        """Answer `wish` when nobody else needs the device. Ends if the `asker` leaves."""
        return self._scheduler.submit(self._describing(wish), WorkKind.DESCRIBE, asker=asker)

    def begin_saying(self, at_s: float) -> Job[Saying]:
        """Have the model say in a sentence what happens at `at_s`, when nobody else needs the
        device. It sees the blocks of the last `SAID_S` seconds, or the newest one.
        """
        return self._scheduler.submit(self._saying(at_s), WorkKind.DESCRIBE)

    def _planned(
        self, question: Question, policy: MemoryPolicy, asked: float
    ) -> AnswerStream | None:
        """Return an answer made from spans; None if not wanted, not understood or not possible."""
        is_wanted = question.plan and self._config.plan_times and self._policy.follows_times
        if not is_wanted or self._policy.has("context") or isinstance(self._family, Text):
            return None
        with self.model.turn:
            self.memory.refresh()
            seen = self._named(question, policy, self._view(question, policy), beside=False)
            basis = self._basis(policy, seen.view)
        wanted = time_question_of(question, seen) if seen.view.ids else None
        if wanted is None:
            return None
        effort = replace(EFFORTS["default"], milliseconds=self._config.plan_milliseconds)
        layers = self._config.search_layers
        return planned(self, question, wanted, seen, basis, effort, layers, asked)

    def _answering(
        self,
        question: Question,
        retrieved: BlocksByLayer | None,
        choice: TokenChoice,
        events: TokenEvents,
    ) -> Work[Afterwards]:
        """Put the Reading into `events`, then each token as it is decoded."""
        follows_times = self._config.follow_times and retrieved is None
        reading = yield from self._reading(question, retrieved, follows_times)
        events.put(reading)
        decoder, logits = self._decoder, reading.prefilled.logits
        context, num_words = reading.prefilled.context, 0
        limit = question.decoding.max_tokens or self._config.max_answer_tokens
        for left in reversed(range(limit)):
            token, probability = choice.choose(logits[-1])
            is_last = choice.is_done(token)
            num_words += not choice.is_stop(token)
            events.put(TokenEvent(token, probability, is_last, time.perf_counter()))
            if is_last or not left:
                break
            embedded = decoder.embed(torch.tensor([token], device=decoder.device))
            logits = yield Pass(embedded, context, num_logits=1)
        shares = reading.prefilled.words.by_block(num_words)
        spans = cited_spans(self.memory, shares, reading.basis.newest_frame_s)
        return Afterwards(spans, strange_reason(self.memory, self._family, reading.evidence))

    def _saying(self, at_s: float) -> Work[Saying]:
        memory = self.memory
        seen = memory.visible(at_s, at_s - SAID_S) or memory.visible(at_s)[-1:]
        if not seen:
            raise QuestionError(f"nothing is kept of {at_s:g} s and before")
        first = memory.info(seen[0])
        wish = Wish(self._family.recommended.say_prompt, at_s, first.end_s)
        said = yield from self._describing(wish, _SAID_TOKENS)
        return Saying(" ".join(said.split()), first.start_s)

    def _describing(self, wish: Wish, max_tokens: int | None = None) -> Work[str]:
        """Describe the recent window, or all blocks of a stretch."""
        recent, older = self._policy.recent_blocks(), []
        if wish.from_s is not None and recent is not None:
            seen = self.memory.visible(wish.at_s, wish.from_s)
            older = seen[: max(0, len(seen) - recent)]
        decoding = Decoding(max_tokens=max_tokens)
        question = Question(wish.text, wish.at_s, from_s=wish.from_s, decoding=decoding)
        choice, events = TokenChoice(question.decoding, self._family), TokenEvents()
        retrieved = [older] * self._decoder.num_layers
        yield from self._answering(question, retrieved, choice, events)
        received = [events.get() for _ in range(events.qsize())]
        tokens = [event.token for event in received if isinstance(event, TokenEvent)]
        return choice.text([token for token in tokens if not choice.is_stop(token)])

    def _judging(self, prompt: str, at_s: float | None) -> Work[Judgement]:
        reading = yield from self._reading(Question(prompt, at_s))
        strange = strange_reason(self.memory, self._family, reading.evidence)
        return Judgement(
            **vars(replace(reading.basis, strange=strange)),
            at_s=reading.basis.newest_frame_s if at_s is None else at_s,
            probability=speaking_probability(reading.prefilled.logits[-1], self._family),
            evidence=reading.evidence,
        )

    def _read(self, policy: MemoryPolicy, question: Question) -> Work[TextTokens]:
        """Return the question's tokens, with as much of its dialogue as the policy keeps."""
        read = partial(
            self._family.question,
            question.text,
            context=question.context,
            answer_start=question.answer_start,
        )
        dialogue = question.dialogue
        if not dialogue or not policy.has("kept_dialogue"):
            return read(dialogue)
        return (yield from kept_dialogue(self._decoder, self._prefix, policy, read, dialogue))

    def _coarser_since(self, policy: MemoryPolicy) -> float | None:
        times = [self.memory.coarser_since]
        if policy.has("coarser_since"):
            times.append(policy.coarser_since(self.memory.state))
        return max((since for since in times if since is not None), default=None)

    def _prefill_under(self, policy: MemoryPolicy) -> QuestionPrefill:
        limit = self._config.max_answer_tokens
        opens, cited = self._open_context, self._cited_layers
        return QuestionPrefill(self._decoder, self.memory, opens, policy, limit, cited)

    def _chosen(self, name: str | None) -> tuple[MemoryPolicy, QuestionPrefill]:
        """Return the policy that a question names, else the stream's own. Raises QuestionError."""
        name = name or self._policy.name
        if name not in self._known:
            try:
                policy = instead_of(self._policy, name)
            except KVMemoryError as error:
                raise QuestionError(str(error)) from error
            self._known[name] = policy, self._prefill_under(policy)
        return self._known[name]

    def _view(self, question: Question, policy: MemoryPolicy) -> MemoryView:
        """Return what the question may see, whatever times its words name."""
        rule = policy.encoding().infllm
        return view_at(
            self.memory,
            question.at_s,
            policy.recent_blocks(),
            question.from_s,
            recent_tokens=None if rule is None else rule.window_tokens,
        )

    def _named(
        self, question: Question, policy: MemoryPolicy, view: MemoryView, beside: bool = True
    ) -> NamedView:
        """Narrow `view` to the time that the question names, if the policy follows times."""
        if not (view.ids and policy.follows_times):
            return NamedView(view, question, question.text)
        in_stream_time = self._family.recommended.reads_stream_time
        recent, beside = policy.recent_blocks(), beside and policy.sees_beside
        return named_view(question, self.memory, view, recent, in_stream_time, beside)

    def _basis(self, policy: MemoryPolicy, view: MemoryView, newest_s: float = 0.0) -> Basis:
        """`newest_s` is used if the view has no blocks."""
        return Basis(
            newest_frame_s=self.memory.info(view.ids[-1]).end_s if view.ids else newest_s,
            coarser_since=self._coarser_since(policy),
            knows=self._family.recommended.knows,
        )

    def _reading(
        self,
        question: Question,
        retrieved: BlocksByLayer | None = None,
        follows_times: bool = False,
    ) -> Work[Reading]:
        self.memory.refresh()
        policy, prefill = self._chosen(question.policy)
        view = self._view(question, policy)
        newest_s = self.memory.newest_s if question.at_s is None else question.at_s
        query, context = Query(question.text, newest_s, question.from_s), NOTHING
        if retrieved is None and policy.has("context"):
            context = policy.context(query, self.memory.state)
        if not view.ids and not context.passages:
            raise QuestionError(_nothing_seen(question, self.memory))
        seen = NamedView(view, question, question.text)
        if follows_times:
            seen = self._named(question, policy, view)
        view = seen.view
        reads_dialogue = self._family.recommended.reads_dialogue
        read = _with_passages(seen.read_as, context.passages, reads_dialogue)
        if retrieved is None and policy.has("select_by_words"):
            found = policy.select_by_words(query, view.older_ids, self.memory.state)
            if found is not None:
                retrieved = [found] * self._decoder.num_layers
        tokens = yield from self._read(policy, read)
        limit = question.decoding.max_tokens
        prefilled = yield from prefill.work(tokens, view, retrieved, limit, again=context)
        return Reading(
            prefilled,
            self._basis(policy, view, newest_s),
            recent_ids=view.recent_ids,
            evidence=_evidence(self.memory, view, prefilled, context.block_ids),
            looked=seen.looked,
            context_tokens=prefilled.context.num_tokens,
        )


def _contexts(
    encoding: Encoding, decoder: Decoder, prefix: LayerKV, memory: MemoryReader
) -> Callable[[int], AnswerContext]:
    if encoding.rekv_window_tokens is not None:
        return partial(RekvContext, decoder, prefix, memory, n_local=encoding.rekv_window_tokens)
    if (rule := encoding.infllm) is not None:
        return partial(InfllmContext, decoder, prefix, memory, n_local=rule.window_tokens)
    sinks, window_blocks = encoding.sinks, encoding.window_blocks
    return partial(AnswerContext, decoder, prefix, memory, sinks=sinks, window_blocks=window_blocks)


def _evidence(
    memory: MemoryReader, view: MemoryView, prefilled: PrefilledQuestion, read_again: Sequence[int]
) -> tuple[Evidence, ...]:
    """Return every visual block of the context, best score first."""
    used = Counter(block for ids in prefilled.retrieved for block in ids)
    whole = {*view.recent_ids, *(block for block in read_again if block in view.ids)}
    used.update(dict.fromkeys(whole, len(prefilled.retrieved)))
    queries = torch.stack(list(prefilled.queries))
    cosines = memory.cosines(queries, list(used)).mean(dim=0).tolist()
    pictures = memory.thumbnails(list(used))
    found = []
    for (block_id, num_layers), score, picture in zip(used.items(), cosines, pictures, strict=True):
        info = memory.info(block_id)
        found.append(
            Evidence(
                block_id=block_id,
                start_s=info.start_s,
                end_s=info.end_s,
                captured_at=info.captured_at,
                score=score,
                num_layers=num_layers,
                thumbnail=picture,
            )
        )
    return tuple(sorted(found, key=lambda e: (-e.score, e.block_id)))


def _with_passages(
    question: Question, passages: Sequence[Passage], reads_dialogue: bool
) -> Question:
    """Put passages before the dialogue, or into the text if the model reads no dialogue."""
    if not passages:
        return question
    if reads_dialogue:
        turns = tuple(Turn(passage.question, passage.answer) for passage in passages)
        return replace(question, dialogue=turns + question.dialogue)
    sentences = " ".join(passage.sentence for passage in passages)
    return replace(question, text=f"{sentences} {question.text}".strip())


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
