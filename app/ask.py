"""`vstream ask`: one source or stored stream, one question, one answer."""

import re
from pathlib import Path

from app.ask_stored import ask_stored
from app.model import load_model
from app.stream_time import clock
from app.terminal import Terminal, answer_document
from memory import FoundStream, StoreError, find_stream, store_name, tier_of
from vstream.config import VStreamConfig
from vstream.errors import QuestionError, SettingsError
from vstream.ingest import IngestWorker
from vstream.open_session import open_session
from vstream.question import Question
from vstream.sources.address import SourceKind, parse_address, stream_id_of
from vstream.sources.frame_source import open_source
from vstream.times.zone import zone_of

_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def ask_source(
    terminal: Terminal,
    config: VStreamConfig,
    source: str,
    question: str,
    *,
    from_s: float | None,
    at_s: float | None,
    watch_s: float,
    dialogue: str | None,
    zone: str | None,
    as_json: bool,
) -> None:
    """Answer about a stream that the store holds; or else ingest `source`, then answer.

    A file is read up to `at_s` or its end, a live source for `watch_s` seconds from its first
    frame. Raises VStreamError or KVMemoryError for whatever stands in the way.
    """
    if not question.strip():
        raise QuestionError("the question is empty: write what you want to know")
    if from_s is not None and at_s is not None and at_s < from_s:
        raise SettingsError(f"--at {clock(at_s)} is before --from {clock(from_s)}")
    if zone is not None:
        zone_of(zone)  # told before a model is loaded
    asked = Question(question, at_s, from_s=from_s, zone=zone)
    name, found = _stored(config, source)
    if found is not None:
        ask_stored(terminal, config, name, found, asked, dialogue=dialogue, as_json=as_json)
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
        stream = session.ask(asked)
        if as_json:
            terminal.document(answer_document(stream.answer, worker.progress))
        else:
            terminal.stream_answer(stream)


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
