"""A question about a stream that a store holds already, whoever writes it."""

from dataclasses import replace

from app.model import load_model
from app.terminal import Terminal, answer_document
from encoders import Turn
from memory import FoundStream, RedisLink, tier_of
from vstream.board.question_board import QuestionBoard
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError
from vstream.question import Answer, Question
from vstream.stream_reader import model_of, open_reader


def ask_stored(
    terminal: Terminal,
    config: VStreamConfig,
    stream_id: str,
    found: FoundStream,
    question: Question,
    *,
    dialogue: str | None,
    as_json: bool,
) -> None:
    """Have it answered by an answerer, if one is there, or else in this process.

    Raises QuestionError with the answerer's reason if it has none, KVMemoryError, ModelError.
    """
    if not tier_of(config.memory.store).carries_questions:
        if dialogue is not None:
            raise SettingsError("--dialogue needs a store in Redis, where it is remembered")
        _answer_here(terminal, config, stream_id, question, as_json)
        return
    link = RedisLink(config.memory.store)
    try:
        board = QuestionBoard(link, model_of(found.provenance))
        if board.answerers():
            _answer_there(terminal, board, stream_id, question, dialogue, as_json)
            return
        if dialogue is not None:
            question = replace(question, dialogue=board.turns(stream_id, dialogue))
        answer = _answer_here(terminal, config, stream_id, question, as_json)
        if dialogue is not None:
            board.add_turn(stream_id, dialogue, Turn(question.text, answer.text))
    finally:
        link.close()


def _answer_here(
    terminal: Terminal, config: VStreamConfig, stream_id: str, question: Question, as_json: bool
) -> Answer:
    model = load_model(terminal, config)
    with open_reader(config, model, stream_id) as reader:
        stream = reader.ask(question)
        if not as_json:
            return terminal.stream_answer(stream)
        terminal.document(answer_document(stream.answer))
        return stream.answer


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
                terminal.piece("\n(begun anew) " if event.kind == "again" else event.text)
    except KeyboardInterrupt:
        board.withdraw(posted)
        raise
