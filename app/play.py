"""A source plays: questions are answered as they are typed, alerts told when they come."""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import inf

from app.model import load_model
from app.stream_time import clock
from app.terminal import Terminal, firing_document
from memory import KVMemoryError
from vstream.alert import Alert, Firing
from vstream.config import VStreamConfig
from vstream.device.work import Job
from vstream.errors import QuestionError, VStreamError
from vstream.ingest import IngestWorker, SeenFrame
from vstream.open_session import open_session
from vstream.question import Saying
from vstream.session import Session
from vstream.sources.address import stream_id_of
from vstream.sources.config import Speed
from vstream.speaking import speaking_policy

_POLL_S = 0.05


@dataclass(frozen=True)
class Awaited:
    """What is waited for. `rule` names the speaking policy, `threshold` is how probable it must be;
    None: as the model recommends. A document of a firing has its condition as what it is `called`.
    """

    conditions: Sequence[str] = ()
    rule: str | None = None
    threshold: float | None = None
    called: str = "condition"


def play_source(
    terminal: Terminal,
    config: VStreamConfig,
    source: str,
    speed: Speed,
    awaited: Awaited = Awaited(),
    *,
    reads: bool = True,
    as_json: bool = False,
) -> None:
    """Ingest `source` in the background until it ends; if it `reads`, answer each line of stdin.

    What `awaited` wait for is told when it happens, and then what the model says of it; with any,
    the source plays to its end even if stdin ends before. With `as_json` answers and firings are
    documents. A live source that is lost is looked for until the user leaves. Raises SourceError
    for a file that cannot be read, QuestionError for an empty condition.
    """
    if not all(text.strip() for text in awaited.conditions):
        raise QuestionError("a condition is empty: write what to wait for, as 'tell me when ...'")
    model = load_model(terminal, config)
    with (
        open_session(config, model, stream_id_of(source)) as session,
        ThreadPoolExecutor(1, thread_name_prefix="sentences") as later,
    ):
        recommended = model.family.recommended
        alerts = [
            Alert(session, text, speaking_policy(awaited.rule, recommended, awaited.threshold))
            for text in awaited.conditions
        ]
        called = awaited.called if as_json else None

        def look(frame: SeenFrame) -> None:
            for alert in alerts:
                before = alert.strange
                firing = alert.look(frame.stream_s)
                if alert.strange not in (None, before):
                    terminal.say(f"{alert.condition}: not told. {alert.strange}")
                if firing and not as_json:
                    terminal.firing(firing)
                if firing:
                    saying = session.begin_saying(firing.at_s)
                    later.submit(_tell, terminal, firing, saying, called)

        worker = IngestWorker(
            session, source, config.source, speed=speed, keep_trying=True, on_frame=look
        )
        worker.start()
        try:
            patience_s = inf if sys.stdin.isatty() else config.source.connect_timeout_s
            await_first_block(terminal, session, worker, patience_s)
            if reads:
                told = "plays; type a question, an empty line for the state"
                terminal.say(f"{worker.source_name} {told}")
                answer_lines(terminal, session, worker, stream_id_of(source), as_json=as_json)
            while alerts and worker.is_running:
                time.sleep(_POLL_S)
        finally:
            worker.stop()
            worker.join()


def _tell(terminal: Terminal, firing: Firing, saying: Job[Saying], called: str | None) -> None:
    """What the model says of a firing, once it has been asked: a line, or a document."""
    said = None
    with suppress(VStreamError, KVMemoryError):  # as where that moment is no longer kept
        said = saying.result()
    if called is not None:
        terminal.document(firing_document(firing, said, called))
    elif said is not None and said.text:
        terminal.line(f'{clock(firing.at_s)}  "{said.text}"')


def await_first_block(
    terminal: Terminal, session: Session, worker: IngestWorker, patience_s: float
) -> None:
    """Wait until there is something to ask about; say whatever goes wrong meanwhile."""
    said = None
    give_up_at = time.monotonic() + patience_s
    while worker.is_running and session.memory.num_blocks == 0 and time.monotonic() < give_up_at:
        if worker.status.last_error is not said:
            said = worker.status.last_error
            terminal.say(describe(worker))
        time.sleep(_POLL_S)


def answer_lines(
    terminal: Terminal,
    session: Session,
    worker: IngestWorker,
    stream_id: str,
    *,
    as_json: bool = False,
) -> None:
    """Answer stdin line by line; an empty line shows how the stream is doing."""
    while True:
        terminal.prompt(clock(worker.progress.stream_s))
        line = sys.stdin.readline()
        if not line or worker.has_failed:
            return
        if not line.strip():
            terminal.say(describe(worker))
            continue
        try:
            stream = session.ask(line.strip())
            terminal.tell_answer(stream, session.model.name, stream_id, as_json=as_json)
        except QuestionError as error:
            terminal.fail(str(error))


def describe(worker: IngestWorker) -> str:
    """State, age of the newest frame, counts, and what is wrong if anything is."""
    status, done = worker.status, worker.progress
    age = "none yet" if status.last_frame_age_s is None else f"{status.last_frame_age_s:.1f} s ago"
    text = (
        f"{status.state}, newest frame {age}, {done.frames_encoded} frames encoded, "
        f"{done.frames_duplicate} alike, {done.frames_lost} lost, "
        f"{status.counts.reconnects} reconnects"
    )
    return f"{text}; {status.last_error}" if status.last_error else text
