"""A mosquitto of our own on loopback, and a subscriber that knows what it holds."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress

import aiomqtt
from processes import until
from rtsp_camera import free_port
from tls_proxy import made_certificate

USER, PASSWORD = "cameras", "a-password-of-the-tests"


def mosquitto_binary():
    return shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")


class MosquittoBroker:
    """Lets in one user; keeps nothing when it is killed. `encrypted_url` is for those who trust
    its own `certificate`.
    """

    def __init__(self, folder):
        self.port, encrypted_port = free_port(), free_port()
        self.url = f"mqtt://{USER}@127.0.0.1:{self.port}"
        self.encrypted_url = f"mqtts://{USER}@127.0.0.1:{encrypted_port}"
        users, self._log, settings = (folder / name for name in ("users", "log", "settings"))
        self.certificate, key = made_certificate(folder)
        made = ["mosquitto_passwd", "-b", "-c", str(users), USER, PASSWORD]
        subprocess.run(made, check=True, capture_output=True)
        for one in (users, key):  # it gives up being root
            one.chmod(0o644)
        for one in [folder, *folder.parents[:3]]:
            with suppress(PermissionError):
                one.chmod(0o755)
        settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {users}\n"
            f"listener {encrypted_port} 127.0.0.1\ncertfile {self.certificate}\nkeyfile {key}\n"
        )
        self._command = [mosquitto_binary(), "-c", str(settings)]
        self.start()

    def start(self):
        """Return once it listens."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until(self._listens, 20)

    def _listens(self):
        assert self.process.poll() is None, self._log.read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


class Subscriber:
    """`held` is what the broker holds by topic, `heard` all that came in order: (topic, payload,
    whether it was held before).
    """

    def __init__(self, broker):
        self.held, self.heard = {}, []
        self._broker = broker
        self._listens = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._listens.wait(20), "no broker"
        return self

    def __exit__(self, *error):
        with suppress(RuntimeError):  # the broker has ended it already
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(20)

    def await_held(self, topic, is_so=lambda payload: True, seconds=60):
        """The payload, once `is_so` of it."""

        def holds():
            found = self.held.get(topic)
            return found is not None and is_so(found)

        give_up_at = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < give_up_at, (topic, self.held.get(topic), sorted(self.held))
            time.sleep(0.02)
        return self.held[topic]

    def send(self, topic, payload, retain=False):
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        asyncio.run_coroutine_threadsafe(sent, self._loop).result(20)

    async def _run(self):
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        with suppress(asyncio.CancelledError, aiomqtt.MqttError):
            async with aiomqtt.Client(
                "127.0.0.1", self._broker.port, username=USER, password=PASSWORD
            ) as self._client:
                await self._client.subscribe("#", qos=1)
                self._listens.set()
                async for message in self._client.messages:
                    topic, payload = message.topic.value, message.payload
                    self.held[topic] = payload
                    if not payload:
                        del self.held[topic]
                    self.heard.append((topic, payload, message.retain))
