"""`vstream ask`: answer a question about a source or a stored stream."""

from contextlib import nullcontext
from dataclasses import replace

from app.first_look import QuestionStream, require_seen
from app.model import load_model
from app.terminal import Terminal
from encoders import Turn
from memory import tier_of
from vstream.config import VStreamConfig
from vstream.errors import SettingsError
from vstream.ingest import IngestWorker
from vstream.open_session import open_session
from vstream.question import Question
from vstream.stream_reader import open_reader


def ask_source(
    terminal: Terminal,
    config: VStreamConfig,
    named: QuestionStream,
    source: str,
    asked: Question,
    watch_s: float,
    dialogue: str | None,
    *,
    as_json: bool,
) -> None:
    """Answer about a stored stream, or ingest `source` and then answer. `named` says which.

    Reads a file up to the question's moment or its end, and a live source for `watch_s` seconds
    from its first frame. Raises VStreamError, KVMemoryError.
    """
    if named.found is not None:
        _ask_stored(terminal, config, named.name, asked, dialogue, as_json)
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
        terminal.tell_answer(stream, model.name, named.name, worker.progress, as_json=as_json)


def _ask_stored(
    terminal: Terminal,
    config: VStreamConfig,
    stream_id: str,
    question: Question,
    dialogue: str | None,
    as_json: bool,
) -> None:
    said = None
    if dialogue is not None:
        said = tier_of(config.memory.store).dialogue(stream_id, dialogue)
        if said is None:
            raise SettingsError("--dialogue needs a Redis store, where it is kept")
    with said or nullcontext():
        if said is not None:
            question = replace(question, dialogue=tuple(Turn(*turn) for turn in said.turns()))
        model = load_model(terminal, config)
        with open_reader(config, model, stream_id) as reader:
            require_seen(config, question.from_s, question.at_s, reader.memory.newest_s)
            stream = reader.ask(question)
            answer = terminal.tell_answer(stream, model.name, stream_id, as_json=as_json)
        if said is not None:
            said.add(question.text, answer.text)
