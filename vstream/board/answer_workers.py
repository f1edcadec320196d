"""AnswerWorkers: the questions of a board in, several at a time, their answers on the board out."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from memory import KVMemoryError, RedisLink, StoreAwayError, StoreError
from vstream.board.question_board import BEAT_S, PostedQuestion, QuestionBoard
from vstream.config import VStreamConfig
from vstream.errors import VStreamError
from vstream.models.video_llm import VideoLLM
from vstream.open_readers import OpenReaders

_log = structlog.get_logger()


class AnswerWorkers:
    """Threads that answer questions about the streams of one store with one model.

    A question whose worker loses the store midway is taken up again, here or elsewhere, once the
    store is back.
    """

    def __init__(
        self,
        config: VStreamConfig,
        model: VideoLLM,
        num_workers: int,
        on_done: Callable[[PostedQuestion, str, float], None] = lambda posted, what, ms: None,
    ) -> None:
        """`on_done` is told in a worker's thread of each question, what came of it, milliseconds.

        Raises StoreError if the store's server cannot be used.
        """
        self._link = RedisLink(config.memory.store)
        self._board = QuestionBoard(self._link, model.fingerprint)
        self._board.join()
        self._model_name = model.name
        self._readers = OpenReaders(config, model, num_workers)
        self._on_done = on_done
        self._stopped = threading.Event()
        self._idle = threading.Event()
        self.failure: Exception | None = None
        """Why the workers have stopped by themselves, if they have."""
        self._taken: dict[str, PostedQuestion] = {}
        self._beating = threading.Thread(target=self._beat, name="answerer", daemon=True)
        self._workers = [
            threading.Thread(target=self._work, args=(f"{n}",), name=f"answer-{n}", daemon=True)
            for n in range(num_workers)
        ]

    @property
    def name(self) -> str:
        """HOST:PID, as those who ask see it."""
        return self._board.me

    def start(self) -> None:
        for thread in (self._beating, *self._workers):
            thread.start()

    def stop(self) -> None:
        """Take no more questions, finish those that are being answered, and leave."""
        self._stopped.set()
        for worker in self._workers:
            worker.join()
        self._idle.set()
        self._beating.join()
        self._readers.close()
        with suppress(StoreError):  # it will be missed without that
            self._board.leave()
        self._link.close()

    def _beat(self) -> None:
        while not self._idle.wait(BEAT_S) and self.failure is None:
            try:
                self._board.join()
                for worker, taken in list(self._taken.items()):
                    self._board.hold(taken, worker)
            except StoreError:
                continue  # the workers find out for themselves

    def _work(self, worker: str) -> None:
        while not self._stopped.is_set():
            try:
                taken = self._board.take(worker)
                if taken is not None:
                    self._taken[worker] = taken
                    self._answer(taken)
            except StoreAwayError:
                self._stopped.wait(BEAT_S)
            except Exception as error:  # noqa: BLE001  who started the workers is told
                self.failure = error
                return
            finally:
                self._taken.pop(worker, None)

    def _answer(self, taken: PostedQuestion) -> None:
        """Raises StoreError if what came of it cannot be said."""
        began = time.perf_counter()
        try:
            stream = self._readers.ask(taken.stream_id, lambda reader: reader.ask(taken.question))
            for piece in stream:
                self._board.say(taken, piece)
            told = {"model": self._model_name, **stream.answer.document()}
            self._board.finish(taken, told)
            outcome = stream.answer.text
        except StoreAwayError:
            raise
        except (VStreamError, KVMemoryError) as error:
            self._board.fail(taken, str(error))
            outcome = str(error)
        except Exception as error:  # noqa: BLE001  no question may end a worker
            _log.exception("answering failed", question=taken.id, stream=taken.stream_id)
            outcome = f"answering failed: {type(error).__name__}: {error}"
            self._board.fail(taken, outcome)
        self._on_done(taken, outcome, (time.perf_counter() - began) * 1000)
