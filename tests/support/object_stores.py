"""Object stores of our own: a directory, and a server on loopback that speaks S3."""

import os
import urllib.request
from dataclasses import dataclass
from itertools import count

_KEYS = {
    "AWS_ACCESS_KEY_ID": "an-id",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "AWS_REGION": "us-east-1",
}


@dataclass
class ObjectStore:
    url: str
    """With a folder of its own for what is not sealed yet."""


class S3Server:
    """Moto's, in a thread of this process; the environment leads to it."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        os.environ.update(_KEYS, AWS_ENDPOINT_URL=self.endpoint)
        self._numbers = count()

    def new_bucket(self) -> str:
        name = f"bucket-{next(self._numbers)}"
        made = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(made).close()
        return name

    def stop(self) -> None:
        self._server.stop()
        for name in (*_KEYS, "AWS_ENDPOINT_URL"):
            del os.environ[name]
