"""Closing: closes something at the end of a `with` block."""

from typing import Self


class Closing:
    """Base of classes that hold something open; `close` may be called repeatedly."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
