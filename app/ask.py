"""`vstream ask`: one source or stored stream, and a question, or those that are typed."""

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from app.model import load_model
from app.play import play_source
from app.stream_time import clock
from app.terminal import Terminal, answer_document
from encoders import Turn
from memory import FoundStream, RedisLink, StoreError, find_stream, store_name, tier_of
from vstream.answer_stream import AnswerStream
from vstream.board.question_board import QuestionBoard
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError
from vstream.ingest import IngestProgress, IngestWorker
from vstream.made_by import model_of
from vstream.open_session import open_session
from vstream.question import Answer, Question
from vstream.sources.address import SourceKind, parse_address, stream_id_of
from vstream.sources.config import Speed
from vstream.sources.frame_source import open_source
from vstream.stream_reader import open_reader
from vstream.times.zone import zone_of

_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def ask_source(
    terminal: Terminal,
    config: VStreamConfig,
    source: str,
    asked: Question,
    watch_s: float,
    dialogue: str | None,
    *,
    as_json: bool,
) -> None:
    """Answer about a stream that the store holds; or else ingest `source`, then answer.

    A file is read up to the question's moment or its end, a live source for `watch_s` seconds from
    its first frame. Raises VStreamError or KVMemoryError for whatever stands in the way.
    """
    at_s, from_s = asked.at_s, asked.from_s
    if not asked.text.strip():
        raise QuestionError("the question is empty: write what you want to know")
    if from_s is not None and at_s is not None and at_s < from_s:
        raise SettingsError(f"--at {clock(at_s)} is before --from {clock(from_s)}")
    if asked.zone is not None:
        zone_of(asked.zone)  # told before a model is loaded
    name, found = _stored(config, source)
    if found is not None:
        _ask_stored(terminal, config, name, found, asked, dialogue, as_json)
        return
    if dialogue is not None:
        raise SettingsError("--dialogue needs a stream that the store holds")
    if parse_address(source).kind is SourceKind.FILE:
        open_source(source, config.source).close()  # told before a model is loaded
    elif at_s is not None:
        raise SettingsError("--at needs a file: a live source is asked about now")
    model = load_model(terminal, config)
    with open_session(config, model, name) as session:
        worker = IngestWorker(session, source, config.source, until_s=at_s)

        def seen_enough() -> bool:
            watched_s = worker.watched_s
            has_block = session.memory.num_blocks > 0
            return worker.is_live and has_block and watched_s is not None and watched_s >= watch_s

        terminal.follow(worker, at_s, seen_enough)
        _show(terminal, session.ask(asked), as_json, worker.progress)


def ask_typed(
    terminal: Terminal, config: VStreamConfig, source: str, speed: Speed, *, as_json: bool
) -> None:
    """Answer what is typed while `source` plays. Raises QuestionError for a stream of the store,
    which does not.
    """
    if _stored(config, source)[1] is not None:
        raise QuestionError(f"{source} is stored and does not play: write a question")
    play_source(terminal, config, source, speed, as_json=as_json)


def _stored(config: VStreamConfig, source: str) -> tuple[str, FoundStream | None]:
    """The stream's id, and the stream if it is to be asked about as the store has it.

    That is one named by its id, or one that another process is just ingesting. Raises StoreError
    for a name that is neither a file nor a stream, SourceError.
    """
    store = config.memory.store
    if _STREAM_ID.fullmatch(source) and not Path(source).exists():
        found = find_stream(store, source)
        if found is None and tier_of(store).lasts and "." not in source:
            raise StoreError(
                f"{source}: neither a file nor a stream that {store_name(store)} holds; "
                "`vstream streams` lists those"
            )
        if found is not None:
            return source, found
    name = stream_id_of(source)
    found = find_stream(store, name)
    return name, found if found is not None and found.state == "live" else None


def _ask_stored(
    terminal: Terminal,
    config: VStreamConfig,
    stream_id: str,
    found: FoundStream,
    question: Question,
    dialogue: str | None,
    as_json: bool,
) -> None:
    if not tier_of(config.memory.store).carries_questions:
        if dialogue is not None:
            raise SettingsError("--dialogue needs a store in Redis, where it is remembered")
        _answer_here(terminal, config, stream_id, question, as_json)
        return
    with closing(RedisLink(config.memory.store)) as link:
        board = QuestionBoard(link, model_of(found.provenance))
        if board.answerers():
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
        return _show(terminal, reader.ask(question), as_json)


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
                    terminal.document(answer_document(answer))
                else:
                    terminal.end_of_answer(answer)
            elif not as_json:
                terminal.piece("\n(started again) " if event.kind == "again" else event.text)
    except KeyboardInterrupt:
        board.withdraw(posted)
        raise


def _show(
    terminal: Terminal, stream: AnswerStream, as_json: bool, progress: IngestProgress | None = None
) -> Answer:
    if not as_json:
        return terminal.stream_answer(stream)
    terminal.document(answer_document(stream.answer, progress))
    return stream.answer
