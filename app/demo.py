"""`vstream demo`: play the bundled sample stream, ask scripted questions, then take the user's.

No answer is prerecorded: the script holds questions, their moments and what the stream really
shows, and a wrong answer is shown as wrong.
"""

import json
import sys
import threading
import webbrowser
from typing import Any

from app.model import load_model
from app.sample import SAMPLE_SCRIPT, SAMPLE_VIDEO
from app.serve import run_service
from app.server.connections import listen_on
from app.server.settings import ServiceConfig, load_settings
from app.stream_time import clock
from app.terminal import Terminal
from vstream.config import VStreamConfig
from vstream.errors import SettingsError
from vstream.ingest import IngestWorker
from vstream.open_session import open_session
from vstream.question import Question
from vstream.service.stream_spec import StreamSpec
from vstream.session import Session
from vstream.sources.address import stream_id_of


def open_demo(terminal: Terminal, config: VStreamConfig) -> None:
    """Serve the page on loopback with the sample stream playing, and open it in a browser."""
    spec = StreamSpec.model_validate(
        {"id": "sample", "source": {"url": str(SAMPLE_VIDEO), "loop": True}}
    )
    service = ServiceConfig(allow_private=True, port=_free_port(ServiceConfig().port))
    more = {**dict(config), "streams": (spec,), "service": service}
    settings = load_settings(None).model_copy(update=more)
    run_service(terminal, settings, on_listening=lambda url: _open_browser(terminal, url))


def _free_port(wanted: int) -> int:
    """`wanted` if it is free, else 0, which picks a free port."""
    try:
        listen_on("127.0.0.1", wanted).close()
    except SettingsError:
        return 0
    return wanted


def _open_browser(terminal: Terminal, url: str) -> None:
    page = f"{url}/ui#tab=live&stream=sample"
    try:
        webbrowser.get()
    except webbrowser.Error:
        terminal.say(f"no browser here: open {page}")
        return
    # The service already listens; a browser that comes early waits until it is ready.
    threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()


def play_demo(terminal: Terminal, config: VStreamConfig) -> None:
    """Play, ask, compare; with a terminal, then take the user's questions until an empty line."""
    script = json.loads(SAMPLE_SCRIPT.read_text("utf-8"))["questions"]
    model = load_model(terminal, config)
    with open_session(config, model, stream_id_of(str(SAMPLE_VIDEO))) as session:
        for entry in sorted(script, key=lambda entry: entry["asked_s"]):
            _play_to(terminal, session, config, entry["asked_s"])
            _ask(terminal, session, entry)
        _play_to(terminal, session, config, None)
        if sys.stdin.isatty():
            _take_questions(terminal, session)


def _play_to(
    terminal: Terminal, session: Session, config: VStreamConfig, at_s: float | None
) -> None:
    worker = IngestWorker(session, str(SAMPLE_VIDEO), config.source, until_s=at_s)
    terminal.follow(worker, at_s)


def _ask(terminal: Terminal, session: Session, entry: dict[str, Any]) -> None:
    """Ask, and check the reply: it must begin with one of `accepted`; the stream shows `answer`."""
    asked_s, question = entry["asked_s"], entry["question"]
    terminal.question(clock(asked_s), question)
    answer = terminal.stream_answer(session.ask(Question(question, asked_s)))
    said = answer.text.strip().lower()
    right = any(said == one or said.startswith((f"{one}.", f"{one},")) for one in entry["accepted"])
    terminal.say(f"{'right' if right else 'wrong'}: the stream shows {entry['answer']!r}")


def _take_questions(terminal: Terminal, session: Session) -> None:
    terminal.say("your turn: ask about the whole stream; an empty line quits")
    while True:
        terminal.prompt("you")
        line = sys.stdin.readline().strip()
        if not line:
            return
        terminal.stream_answer(session.ask(line))
