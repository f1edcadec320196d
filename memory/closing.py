"""Closing: what is closed at the end of a `with` block."""

from typing import Self


class Closing:
    """Base of what holds something open: it has a `close`, which may be called repeatedly."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
