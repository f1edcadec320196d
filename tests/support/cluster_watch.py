"""Who writes the streams of a cluster, and how long each of them takes no pictures."""

import random
import threading
import time
from collections import Counter, defaultdict
from itertools import count

import httpx
import redis
from one_thing import thing_jpeg


class Watch:
    """While it is entered a picture is pushed to each stream every `period_s`.

    `moves` are those of streams between processes that write them: when, which, from whom to whom.
    `gaps_s` is by stream the longest time without a picture that was taken, `refused` why others
    were not.
    """

    def __init__(self, cluster, stream_ids, period_s):
        self.moves = []
        self.gaps_s = defaultdict(float)
        self.refused = Counter()
        self._cluster, self._stream_ids, self._period_s = cluster, stream_ids, period_s
        self._pictures = [thing_jpeg("owl", part / 8) for part in range(8)]
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._look, daemon=True)]
        for stream_id in stream_ids:
            thread = threading.Thread(target=self._push, args=[stream_id], daemon=True)
            self._threads.append(thread)

    def __enter__(self):
        self._writers = self._cluster.writers(self._stream_ids)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception):
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _look(self):
        while not self._is_over.wait(0.1):
            try:
                found = self._cluster.writers(self._stream_ids)
            except redis.RedisError:
                continue
            for stream_id, writer in found.items():
                before = self._writers[stream_id]
                if writer not in (None, before):
                    self.moves.append((time.monotonic(), stream_id, before, writer))
                    self._writers[stream_id] = writer

    def _push(self, stream_id):
        taken_at = began = time.monotonic()
        with httpx.Client(base_url=self._cluster.url, timeout=60) as http:
            for number in count():
                due = began + number * self._period_s
                is_over = self._is_over.wait(max(0.0, due - time.monotonic()))
                if is_over or self._is_taken(http, stream_id):
                    now = time.monotonic()
                    self.gaps_s[stream_id] = max(self.gaps_s[stream_id], now - taken_at)
                    taken_at = now
                if is_over:
                    return

    def _is_taken(self, http, stream_id):
        headers = {"X-Capture-Time": f"{time.time():.3f}", "Content-Type": "image/jpeg"}
        path = f"/v1/streams/{stream_id}/frames"
        try:
            told = http.post(path, content=random.choice(self._pictures), headers=headers)
        except httpx.HTTPError as error:
            self.refused[type(error).__name__] += 1
            return False
        if told.status_code != 200:
            self.refused[f"{told.status_code} {told.text}"] += 1
        return told.status_code == 200
