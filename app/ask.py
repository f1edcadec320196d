"""`vstream ask`: one source or stored stream, and a question, or those that are typed."""

from contextlib import closing
from dataclasses import replace
from math import inf

from app.first_look import Asked
from app.model import load_model
from app.stream_time import clock
from app.terminal import Terminal, answer_document
from encoders import Turn
from memory import RedisLink, stored_streams, tier_of
from vstream.answer_stream import AnswerStream
from vstream.board.question_board import QuestionBoard
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError
from vstream.ingest import IngestProgress, IngestWorker
from vstream.made_by import model_of
from vstream.open_session import open_session
from vstream.question import Answer, Question
from vstream.stream_reader import open_reader


def ask_source(
    terminal: Terminal,
    config: VStreamConfig,
    named: Asked,
    source: str,
    asked: Question,
    watch_s: float,
    dialogue: str | None,
    *,
    as_json: bool,
) -> None:
    """Answer about a stream that the store holds, or else ingest `source`, then answer. `named` is
    what was seen of it at first.

    A file is read up to the question's moment or its end, a live source for `watch_s` seconds from
    its first frame. Raises VStreamError or KVMemoryError for whatever stands in the way.
    """
    if named.found is not None:
        made_by = model_of(named.found.provenance)
        _ask_stored(terminal, config, named.name, made_by, asked, dialogue, as_json)
        return
    model = load_model(terminal, config)
    with open_session(config, model, named.name) as session:
        worker = IngestWorker(session, source, config.source, until_s=asked.at_s)

        def seen_enough() -> bool:
            watched_s = worker.watched_s
            has_block = session.memory.num_blocks > 0
            return worker.is_live and has_block and watched_s is not None and watched_s >= watch_s

        terminal.follow(worker, asked.at_s, seen_enough)
        stream = session.ask(asked)
        _show(terminal, stream, model.name, named.name, as_json, worker.progress)


def _ask_stored(
    terminal: Terminal,
    config: VStreamConfig,
    stream_id: str,
    made_by: str,
    question: Question,
    dialogue: str | None,
    as_json: bool,
) -> None:
    """`made_by` is the model that made its blocks."""
    if not tier_of(config.memory.store).carries_questions:
        if dialogue is not None:
            raise SettingsError("--dialogue needs a store in Redis, where it is remembered")
        _answer_here(terminal, config, stream_id, question, as_json)
        return
    with closing(RedisLink(config.memory.store)) as link:
        board = QuestionBoard(link, made_by)
        if board.answerers():
            ends_s = {one.id: one.to_s for one in stored_streams(config.memory.store)}
            _require_seen(config, question, ends_s.get(stream_id, inf))
            _answer_there(terminal, board, stream_id, question, dialogue, as_json)
            return
        if dialogue is not None:
            question = replace(question, dialogue=board.turns(stream_id, dialogue))
        answer = _answer_here(terminal, config, stream_id, question, as_json)
        if dialogue is not None:
            board.add_turn(stream_id, dialogue, Turn(question.text, answer.text))


def _answer_here(
    terminal: Terminal, config: VStreamConfig, stream_id: str, question: Question, as_json: bool
) -> Answer:
    model = load_model(terminal, config)
    with open_reader(config, model, stream_id) as reader:
        _require_seen(config, question, reader.memory.newest_s)
        return _show(terminal, reader.ask(question), model.name, stream_id, as_json)


def _require_seen(config: VStreamConfig, question: Question, newest_s: float) -> None:
    """Raises QuestionError for a time of which nothing can be kept yet: a picture that stays as it
    is, is kept again after `max_gap_s`.
    """
    asked_s = max(question.at_s or 0.0, question.from_s or 0.0)
    if asked_s > newest_s + config.source.max_gap_s:
        raise QuestionError(
            f"nothing is kept of {clock(asked_s)}: the stream's newest block is of "
            f"{clock(newest_s)}"
        )


def _answer_there(
    terminal: Terminal,
    board: QuestionBoard,
    stream_id: str,
    question: Question,
    dialogue: str | None,
    as_json: bool,
) -> None:
    posted = board.post(stream_id, question, dialogue)
    try:
        for event in board.events(posted):
            if event.kind == "error":
                raise QuestionError(event.text)
            if event.kind == "answer":
                answer = Answer.of_document(posted.question, event.document)
                if as_json:
                    model = event.document.get("model")
                    terminal.document(answer_document(answer, model, stream_id))
                else:
                    terminal.end_of_answer(answer)
            elif not as_json:
                terminal.piece("\n(started again) " if event.kind == "again" else event.text)
    except KeyboardInterrupt:
        board.withdraw(posted)
        raise


def _show(
    terminal: Terminal,
    stream: AnswerStream,
    model: str,
    stream_id: str,
    as_json: bool,
    progress: IngestProgress | None = None,
) -> Answer:
    if not as_json:
        return terminal.stream_answer(stream)
    terminal.document(answer_document(stream.answer, model, stream_id, progress))
    return stream.answer
