"""Credit: how far one who sends may be ahead of one who reads."""

import asyncio

_AWAY_S = 120.0


class Credit:
    """Of one stream of messages."""

    def __init__(self, most: int) -> None:
        self._left = asyncio.Semaphore(most)

    async def take(self) -> None:
        """Before each message. Raises TimeoutError if nobody has read any for long."""
        async with asyncio.timeout(_AWAY_S):
            await self._left.acquire()

    def acknowledge(self, num: int) -> None:
        """So many more have been read."""
        for _ in range(num):
            self._left.release()
