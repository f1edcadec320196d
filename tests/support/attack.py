"""Attack: what callers ask of a service who mean it no good, many at once or gone at once."""

import itertools
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx

_numbers = itertools.count()


def costly():
    """A schema that takes minutes to compile, another one each time."""
    return {"type": "integer", "multipleOf": 30_000_001, "title": f"thing {next(_numbers)}"}


def harmless():
    """One that takes a moment, another one each time."""
    return {"type": "object", "properties": {f"thing_{next(_numbers)}": {"type": "boolean"}}}


def chat(stream_id, schema=None, **more):
    """Path and body of a question to /v1/chat/completions."""
    content = [_video(stream_id), {"type": "text", "text": "what do you see?"}]
    body = {"max_tokens": 4, "messages": [{"role": "user", "content": content}], **more}
    if schema is not None:
        shape = {"name": "shape", "schema": schema}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    return "/v1/chat/completions", body


def response(stream_id, schema=None, **more):
    """The same to /v1/responses."""
    content = [_video(stream_id), {"type": "input_text", "text": "what do you see?"}]
    body = {"max_output_tokens": 4, "input": [{"role": "user", "content": content}], **more}
    if schema is not None:
        body["text"] = {"format": {"type": "json_schema", "name": "shape", "schema": schema}}
    return "/v1/responses", body


def _video(stream_id):
    return {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}}


def ask(client, asked):
    path, body = asked
    return client.post(path, json=body)


def flood(client, askeds, replies):
    """Ask all at once; `replies` grows as they come. What is returned waits for the last."""
    pool = ThreadPoolExecutor(len(askeds))
    for asked in askeds:
        pool.submit(lambda asked=asked: replies.append(ask(client, asked)))
    return pool.shutdown


def sent(service, key, asked):
    """A connection on which that has been asked; leaving it hangs up."""
    path, body = asked
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    address = urlsplit(service.url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.sendall(head.encode() + content)
    return connection


def is_busy(reply):
    """Whether it was refused as one too many, and told when to come back."""
    if reply.status_code != 429:
        return False
    error = reply.json()["error"]
    told = (error["type"], error["code"])
    return told == ("rate_limit_error", "busy") and int(reply.headers["retry-after"]) >= 1


class Opener:
    """Opens responses that go on, with one key, and holds them until it is left."""

    def __init__(self, service, key=None):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None)
        self.http = httpx.Client(base_url=service.url, headers=headers, timeout=60, limits=limits)
        self._opened = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._opened.close()
        self.http.close()

    def open(self, method, path, **options):
        """Whether it goes on; it is refused as one too many else."""
        reply = self._opened.enter_context(self.http.stream(method, path, **options))
        if reply.is_success:
            return True
        reply.read()
        assert is_busy(reply), (reply.status_code, reply.text)
        return False

    def listen(self):
        return self.open("GET", "/v1/events")

    def ask(self, asked):
        path, body = asked
        return self.open("POST", path, json=body)
