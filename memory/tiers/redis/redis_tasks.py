"""RedisTasks: stores the progress of tasks that may outlive their process, for any process.

The progress of a task is a list of lines. A process holds its tasks for a few seconds at a time;
any process can take a task that nobody holds, and later lines of the last holder are refused.
"""

import secrets
from collections.abc import Collection, Sequence

from memory.closing import Closing
from memory.tiers.redis.redis_link import RedisLink

HELD_S = 5.0
_STOP_S = 60
_TASKS = "vstream:tasks"
_ENDED = "vstream:tasks:ended"


class RedisTasks(Closing):
    """One process's access to the tasks. Safe from any thread. All methods raise StoreError."""

    def __init__(self, link: RedisLink, most: int, kept_s: float) -> None:
        """Keeps the newest `most` ended tasks, for `kept_s` seconds. Closes `link` with itself."""
        self._link = link
        self._most, self._kept_s = most, int(kept_s)
        self._me = secrets.token_hex(8)
        self._append = link.script("append")

    def begin(self, task_id: str, line: str) -> None:
        """Hold a task from now on, and forget the lines under its id."""
        self.forget(task_id)
        self.append(task_id, 0, [line])

    def append(
        self, task_id: str, number: int, lines: Sequence[str], *, is_over: bool = False
    ) -> None:
        """Add lines, the first of them with that number. Raises FencedError if another process has
        taken the task.
        """
        keys = [_task(task_id), _by(task_id), _TASKS, _ENDED]
        args = [task_id, self._me, int(HELD_S * 1000), self._kept_s, self._most]
        with self._link.store_errors():
            self._append(keys=keys, args=[*args, int(is_over), number, *lines])

    def lines(self, task_id: str, after: int = 0) -> list[bytes]:
        """Return all lines but the first `after`; none for an unknown task."""
        with self._link.store_errors():
            found: list[bytes] = self._link.reads.lrange(_task(task_id), after, -1)
        return found

    def all(self) -> set[str]:
        """Return the ids of those that run and of those that have ended and are kept."""
        with self._link.store_errors(), self._link.reads.pipeline(transaction=False) as pipeline:
            pipeline.smembers(_TASKS)
            pipeline.lrange(_ENDED, 0, -1)
            running, ended = pipeline.execute()
        return {one.decode() for one in {*running, *ended}}

    def stop(self, task_id: str) -> None:
        """Have its holder stop working on it."""
        with self._link.store_errors():
            self._link.client.set(_stop(task_id), 1, ex=_STOP_S)

    def forget(self, task_id: str) -> None:
        with self._link.store_errors(), self._link.client.pipeline() as pipeline:
            pipeline.delete(_task(task_id), _by(task_id), _stop(task_id))
            pipeline.srem(_TASKS, task_id)
            pipeline.execute()

    def hold(self, task_ids: Collection[str]) -> tuple[set[str], set[str]]:
        """Keep holding these tasks; return those that somebody wants stopped, and those that
        another process has taken.
        """
        me, lease_ms = self._me.encode(), int(HELD_S * 1000)
        with self._link.store_errors(), self._link.client.pipeline(transaction=False) as pipeline:
            for task_id in task_ids:
                pipeline.set(_by(task_id), me, px=lease_ms, nx=True)
                pipeline.get(_by(task_id))
                pipeline.exists(_stop(task_id))
            found = pipeline.execute()
            by = dict(zip(task_ids, found[1::3], strict=True))
            for task_id in task_ids:
                if by[task_id] == me:
                    pipeline.pexpire(_by(task_id), lease_ms)
            pipeline.execute()
        stopped = {one for one, is_so in zip(task_ids, found[2::3], strict=True) if is_so}
        return stopped, {task_id for task_id in task_ids if by[task_id] != me}

    def take(self) -> dict[str, list[bytes]]:
        """Take the tasks that nobody holds; return each with its lines."""
        with self._link.store_errors():
            known = {one.decode() for one in self._link.reads.smembers(_TASKS)}
            taken = {}
            for task_id in known:
                me = {"px": int(HELD_S * 1000), "nx": True}
                if self._link.client.set(_by(task_id), self._me, **me):
                    taken[task_id] = self.lines(task_id)
        for task_id in [one for one, lines in taken.items() if not lines]:
            self.forget(task_id)
            del taken[task_id]
        return taken

    def let_go(self, task_id: str) -> None:
        """Release a task, so that another process can take it at once."""
        with self._link.store_errors():
            if self._link.reads.get(_by(task_id)) == self._me.encode():
                self._link.client.delete(_by(task_id))

    def close(self) -> None:
        self._link.close()


def _task(task_id: str) -> str:
    return f"vstream:task:{task_id}"


def _by(task_id: str) -> str:
    return f"vstream:task:{task_id}:by"


def _stop(task_id: str) -> str:
    return f"vstream:task:{task_id}:stop"
