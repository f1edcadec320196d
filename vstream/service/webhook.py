"""WebhookSender: sends deliveries from any thread to their receivers, as signed messages.

One thread with an event loop does all of it. At most `max_pending` deliveries are under way or
wait; when one more comes, the oldest that is not being sent right now is dropped and counted. Each
receiver gets one message at a time, and at most `parallel` receivers are sent to at once, so one
that hangs holds up only its own messages. A message that waits for its next try holds up nothing.

Another thread notes each owed message before its first try. The note stays until the message is
delivered or given up: if it was dropped, or the process killed, the next process sends it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

import httpx
import structlog

from memory import StoreError
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.service.owed_webhook import OwedWebhook
from vstream.service.pinned_transport import PinnedTransport
from vstream.service.stream_lines import StreamLines
from vstream.service.webhook_delivery import RetryRule, WebhookDelivery, WebhookOutcome, deliver
from vstream.sources.network_address import AllowPrivate, Resolver, resolve

log = structlog.get_logger()


@dataclass
class WebhookCounts:
    """What became of all deliveries so far."""

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    """For lack of room, or because the sender was closed."""


@dataclass(eq=False)
class _Pending:
    delivery: WebhookDelivery
    owed: OwedWebhook | None = None
    is_noted: bool = False
    task: asyncio.Task[None] | None = None
    is_sending: bool = False


class WebhookSender(Closing):
    """Sends without waiting. `on_outcome` is called in the sender's thread, for drops too."""

    def __init__(
        self,
        *,
        allow_private: AllowPrivate = False,
        rule: RetryRule | None = None,
        max_pending: int = 256,
        parallel: int = 4,
        on_outcome: Callable[[WebhookOutcome], None] = lambda outcome: None,
        resolver: Resolver = resolve,
    ) -> None:
        """Start the thread. `max_pending` must be larger than `parallel`."""
        self._rule = rule or RetryRule()
        self._max_pending = max(max_pending, parallel + 1)
        self._on_outcome = on_outcome
        self._lock = ranked_lock(Rank.WEBHOOKS)
        self._counts = WebhookCounts()
        self._pending: dict[_Pending, None] = {}  # in the order in which they came
        self._is_closed = False
        self._grace_s = 0.0
        self._lines: StreamLines[OwedWebhook] | None = None
        self._noting = ThreadPoolExecutor(1, "webhook notes")
        self._slots = asyncio.Semaphore(parallel)
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closing = asyncio.Event()
        self._client = httpx.AsyncClient(
            transport=PinnedTransport(allow_private, resolver), timeout=None, trust_env=False
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> WebhookCounts:
        """A copy."""
        with self._lock:
            return replace(self._counts)

    @property
    def is_kept(self) -> bool:
        """Whether owed messages outlive the process."""
        return self._lines is not None

    def keep(self, lines: StreamLines[OwedWebhook]) -> None:
        """Note owed messages in `lines` from now on. Closes `lines` with itself."""
        self._lines = lines

    def owed(self) -> list[OwedWebhook]:
        """Return the noted messages not being sent here, oldest first. Raises StoreError."""
        if self._lines is None:
            return []
        found = {one.id: one for one in self._lines.all()}
        with self._lock:
            here = {pending.delivery.id for pending in self._pending}
        return [one for one in found.values() if one.id not in here]

    def settle(self, owed: OwedWebhook) -> None:
        """Drop its note: it is no longer owed. Does not wait."""
        self._noting.submit(self._note, lambda lines: lines.drop(owed.id))

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """See `StreamLines.forget`."""
        if self._lines is not None:
            self._lines.forget(stream_id, from_s, to_s)

    def send(
        self, delivery: WebhookDelivery, owed: OwedWebhook | None = None, *, is_noted: bool = False
    ) -> None:
        """Take a delivery, and note it as `owed` unless `is_noted`. Never waits; drops it after
        `close`.
        """
        with self._lock:
            if self._is_closed:
                self._counts.dropped += 1
                return
            pending = _Pending(delivery, owed, is_noted)
            if len(self._pending) == self._max_pending:
                self._drop(next(other for other in self._pending if not other.is_sending))
            self._pending[pending] = None
            self._loop.call_soon_threadsafe(self._begin, pending)

    def close(self, grace_s: float = 5.0) -> None:
        """Deliver for up to `grace_s`, drop the rest, and end the thread."""
        with self._lock:
            if not self._is_closed:
                self._is_closed, self._grace_s = True, grace_s
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        self._noting.shutdown()
        if self._lines is not None:
            self._lines.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._closing.wait()
        tasks = [pending.task for pending in list(self._pending) if pending.task]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._grace_s)
            with self._lock:
                for pending in list(self._pending):
                    self._drop(pending)
            await asyncio.gather(*late, return_exceptions=True)
        await self._client.aclose()

    def _begin(self, pending: _Pending) -> None:
        with self._lock:
            if pending in self._pending:
                pending.task = self._loop.create_task(self._deliver(pending))

    async def _deliver(self, pending: _Pending) -> None:
        delivery = pending.delivery
        owed = pending.owed
        if owed is not None and not pending.is_noted:  # by one thread: they stay in order
            note = partial(self._note, lambda lines: lines.add([owed]))
            await self._loop.run_in_executor(self._noting, note)
        try:
            outcome = await deliver(self._client, delivery, self._rule, lambda: self._turn(pending))
        except Exception as error:
            log.exception("webhook failed", receiver=delivery.receiver)
            outcome = WebhookOutcome(delivery, False, 0, error=type(error).__name__)
        with self._lock:
            if pending not in self._pending:
                return  # dropped while it waited, and reported
            del self._pending[pending]
            self._counts.delivered += outcome.delivered
            self._counts.failed += not outcome.delivered
        if owed is not None:
            self.settle(owed)
        self._report(outcome)

    def _note(self, change: Callable[[StreamLines[OwedWebhook]], None]) -> None:
        """Change the notes. A failure is only logged: the message is sent anyway."""
        try:
            if self._lines is not None:
                change(self._lines)
        except StoreError as error:
            log.error("webhooks cannot be noted", reason=str(error))

    @asynccontextmanager
    async def _turn(self, pending: _Pending) -> AsyncIterator[None]:
        receiver = pending.delivery.receiver
        lane = self._lanes.setdefault(receiver, asyncio.Lock())
        async with lane, self._slots:
            with self._lock:
                if pending not in self._pending:
                    raise asyncio.CancelledError
                pending.is_sending = True
            try:
                yield
            except BaseException:
                pending.is_sending = False  # a success can no longer be dropped
                raise

    def _drop(self, pending: _Pending) -> None:
        del self._pending[pending]
        self._counts.dropped += 1
        if pending.task is not None:
            self._loop.call_soon_threadsafe(pending.task.cancel)
        outcome = WebhookOutcome(pending.delivery, False, 0, error="dropped")
        self._loop.call_soon_threadsafe(self._report, outcome)

    def _report(self, outcome: WebhookOutcome) -> None:
        if not outcome.delivered:
            log.warning(
                "webhook not delivered",
                receiver=outcome.delivery.receiver,
                tries=outcome.tries,
                reason=outcome.error,
            )
        try:
            self._on_outcome(outcome)
        except Exception:
            log.exception("reporting a webhook failed", receiver=outcome.delivery.receiver)
