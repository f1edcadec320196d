"""`vstream ask`: one source, one question, one answer."""

from app.model import load_model
from app.terminal import Terminal, answer_document
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError
from vstream.ingest import IngestWorker
from vstream.open_session import open_session
from vstream.question import Question
from vstream.sources.address import SourceKind, parse_address
from vstream.sources.frame_source import open_source
from vstream.stream_id import stream_id_of


def ask_source(
    terminal: Terminal,
    config: VStreamConfig,
    source: str,
    question: str,
    *,
    at_s: float | None,
    watch_s: float,
    as_json: bool,
) -> None:
    """Ingest `source`, then answer.

    A file is read up to `at_s` or its end, a live source for `watch_s` seconds from its first
    frame. Raises VStreamError or KVMemoryError for whatever stands in the way.
    """
    if not question.strip():
        raise QuestionError("the question is empty: write what you want to know")
    if parse_address(source).kind is SourceKind.FILE:
        open_source(source, config.source).close()  # told before a model is loaded
    elif at_s is not None:
        raise SettingsError("--at needs a file: a live source is asked about now")
    model = load_model(terminal, config)
    with open_session(config, model, stream_id_of(source)) as session:
        worker = IngestWorker(session, source, config.source, until_s=at_s)

        def seen_enough() -> bool:
            watched_s = worker.watched_s
            has_block = session.memory.num_blocks > 0
            return worker.is_live and has_block and watched_s is not None and watched_s >= watch_s

        terminal.follow(worker, at_s, seen_enough)
        stream = session.ask(Question(question, at_s))
        if as_json:
            terminal.document(answer_document(stream.answer, worker.progress))
        else:
            terminal.stream_answer(stream)
