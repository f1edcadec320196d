"""`vstream answer`: answers questions about the streams of a store for those who ask."""

import json

from app.model import load_model
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal
from memory import store_name, tier_of
from vstream.board.answer_workers import AnswerWorkers
from vstream.board.question_board import PostedQuestion
from vstream.config import VStreamConfig
from vstream.errors import SettingsError

_POLL_S = 0.2


def answer_questions(terminal: Terminal, config: VStreamConfig, num_workers: int) -> None:
    """Until SIGTERM or Ctrl-C. One JSON line on stdout for each question. Raises SettingsError for
    a store that does not carry questions, StoreError, ModelError.
    """
    store = config.memory.store
    if not tier_of(store).carries_questions:
        raise SettingsError(
            f"--store {store_name(store)}: questions and blocks must travel through Redis to be "
            "answered by another process; give redis://HOST to ingest, answer and ask alike, or "
            "ask without answerers: `vstream ask --store file:///DIR STREAM QUESTION`"
        )
    model = load_model(terminal, config)

    def told(posted: PostedQuestion, outcome: str, ms: float) -> None:
        line = {"stream": posted.stream_id, "question": posted.question.text, "outcome": outcome}
        terminal.document(json.dumps({**line, "ms": round(ms, 1)}))

    with stopped_by_signal() as stopped:
        workers = AnswerWorkers(config, model, num_workers, told)
        workers.start()
        try:
            terminal.say(f"answering as {workers.name}, {num_workers} workers")
            while workers.failure is None and not stopped.wait(_POLL_S):
                pass
        finally:
            workers.stop()
    if workers.failure is not None:
        raise workers.failure
    terminal.say("stopped")
