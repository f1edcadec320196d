"""Origin: what a browser says in Origin in, the page's scheme, host and port out."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Origin:
    """Where a page comes from, with the port that its address may leave out."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what is no page of the web, as `null`, `file://` and those of extensions."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            return None
        is_whole = text.lower() == f"{parts.scheme}://{parts.netloc}".lower()
        if not is_whole or "@" in text or parts.scheme not in _PORTS or not parts.hostname:
            return None
        return cls(parts.scheme, parts.hostname, port or _PORTS[parts.scheme])

    def __str__(self) -> str:
        """As browsers write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def is_at(self, host: str) -> bool:
        """Whether its requests to its own server have `host` as their Host."""
        return self == Origin.parse(f"{self.scheme}://{host}")
