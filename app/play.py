"""Play a source: answer questions as they are typed, and report alerts as they fire."""

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
    """The conditions to watch for. `rule` names the speaking policy, `threshold` is the lowest
    probability that counts; None: what the model recommends. JSON documents of firings name the
    condition `called`.
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
    """Ingest `source` in the background until it ends; if `reads`, answer each line of stdin.

    Reports each condition of `awaited` when it comes true, then what the model says of it; with
    conditions, the source plays to its end even if stdin ends first. With `as_json`, prints answers
    and firings as documents. Keeps reconnecting to a live source until the user leaves. Raises
    SourceError for a file that cannot be read, QuestionError for an empty condition.
    """
    if not all(text.strip() for text in awaited.conditions):
        raise QuestionError("empty condition: write what to wait for, e.g. 'tell me when ...'")
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
                    terminal.say(f"{alert.condition}: cannot be judged. {alert.strange}")
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
                told = "is playing; type a question, or an empty line to see its state"
                terminal.say(f"{worker.source_name} {told}")
                answer_lines(terminal, session, worker, stream_id_of(source), as_json=as_json)
            while alerts and worker.is_running:
                time.sleep(_POLL_S)
        finally:
            worker.stop()
            worker.join()


def _tell(terminal: Terminal, firing: Firing, saying: Job[Saying], called: str | None) -> None:
    """Print what the model says of a firing, as a line or as a document."""
    said = None
    with suppress(VStreamError, KVMemoryError):  # e.g. that moment is no longer kept
        said = saying.result()
    if called is not None:
        terminal.document(firing_document(firing, said, called))
    elif said is not None and said.text:
        terminal.line(f'{clock(firing.at_s)}  "{said.text}"')


def await_first_block(
    terminal: Terminal, session: Session, worker: IngestWorker, patience_s: float
) -> None:
    """Wait until there is something to ask about; report errors meanwhile."""
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
    """Answer stdin line by line; an empty line shows the stream's state."""
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
    """Describe the state, the age of the newest frame, counts, and the last error."""
    status, done = worker.status, worker.progress
    age = "none yet" if status.last_frame_age_s is None else f"{status.last_frame_age_s:.1f} s ago"
    text = (
        f"{status.state}, newest frame {age}, {done.frames_encoded} frames encoded, "
        f"{done.frames_duplicate} unchanged, {done.frames_lost} lost, "
        f"{status.counts.reconnects} reconnects"
    )
    return f"{text}; {status.last_error}" if status.last_error else text
