"""`vstream ask --service`: ask a running service. Needs no torch."""

import os
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from app.client import ServiceClient, ServiceError, StreamedAnswer
from app.first_look import require_question, require_seen
from app.server.keys import master_key
from app.terminal import Terminal, answer_document
from vstream.config import VStreamConfig
from vstream.errors import QuestionError

_UNTOLD = (
    *("stream_id", "as_of", "newest_frame_at", "newest_frame_age_s"),
    *("moments", "tools_ignored"),
)
"""Fields of a service's answer that `vstream ask` leaves out."""


@dataclass(frozen=True)
class AskedThere:
    """Fields as in Question. If `text` is None, the user types questions."""

    stream_id: str
    text: str | None
    from_s: float | None
    at_s: float | None
    zone: str | None
    plan: bool

    @property
    def stream_url(self) -> str:
        span = {"from_s": self.from_s, "to_s": self.at_s}
        query = urlencode({name: at_s for name, at_s in span.items() if at_s is not None})
        return f"stream://{quote(self.stream_id, safe='')}" + (f"?{query}" if query else "")


def ask_service(
    terminal: Terminal, config: VStreamConfig, service: str, asked: AskedThere, *, as_json: bool
) -> None:
    """Answer the question; without one, answer each line of stdin on its own. VSTREAM_API_KEY holds
    the key. Raises ServiceError, QuestionError, SettingsError.
    """
    with ServiceClient(service, master_key(os.environ)) as client:
        if asked.text is not None:
            _answer(terminal, config, client, asked, asked.text, as_json)
            return
        while True:
            terminal.prompt(asked.stream_id)
            if not (line := sys.stdin.readline()):
                return
            try:
                _answer(terminal, config, client, asked, line.strip(), as_json)
            except (QuestionError, ServiceError) as error:
                terminal.fail(str(error))


def _answer(
    terminal: Terminal,
    config: VStreamConfig,
    client: ServiceClient,
    asked: AskedThere,
    text: str,
    as_json: bool,
) -> None:
    require_question(text, asked.from_s, asked.at_s, asked.zone)
    wishes: dict[str, Any] = {"plan": asked.plan, "timezone": asked.zone}
    messages = [{"role": "user", "content": text}]
    try:
        if asked.from_s is not None or asked.at_s is not None:
            kept = client.timeline(asked.stream_id, parts=1)
            require_seen(config, asked.from_s, asked.at_s, kept.kept_to_s)
        answer, shown = StreamedAnswer(), 0
        with closing(client.ask(messages, [asked.stream_url], **wishes)) as longer:
            for answer in longer:
                if not as_json:
                    terminal.piece(answer.text[shown:])
                shown = len(answer.text)
    except ServiceError as error:
        if error.status != 401:
            raise
        why = f"{client.url}: a key is needed; set VSTREAM_API_KEY or VSTREAM_API_KEY_FILE"
        raise ServiceError(why, error.code, error.status) from None
    document = _document(answer)
    if as_json:
        terminal.document(answer_document(document, answer.model, asked.stream_id))
    else:
        terminal.end_of_answer(document)


def _document(answer: StreamedAnswer) -> dict[str, Any]:
    """Like `Answer.document`, with the fields that the service returns."""
    facts = {name: one for name, one in answer.evidence[0].items() if name not in _UNTOLD}
    from_s, to_s = facts.pop("looked_from_s"), facts.pop("looked_to_s")
    times = {"ttft": facts.pop("ttft_ms"), "total": facts.pop("total_ms")}
    moments = {"start_s", "end_s", "captured_at", "score"}
    return {
        "answer": answer.text.strip(),
        **facts,
        "truncated": answer.is_truncated,
        "looked": None if from_s is None else {"from_s": from_s, "to_s": to_s},
        "evidence": [one.model_dump(include=moments) for one in answer.citations],
        "timings_ms": times,
    }
