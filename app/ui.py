"""`vstream ui`: the web page over a service that runs elsewhere; and where a service shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gradio as gr
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app.client import ServiceClient, ServiceError
from app.page.layout import build_page, looks
from app.page.page import Page
from app.server.keys import Action, ApiKeys, refuse_bind
from app.server.run import listen_on
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal

PATH = "/ui"
_LARGEST_UPLOAD = "2gb"
_LARGEST_FRAME = "10mb"
_THREADS = 100
_LOOPBACK = ("127.0.0.1", "localhost")
_ENTER = "The password is the service's key; any name will do."


def show_page(
    terminal: Terminal,
    service: str,
    key: str | None,
    host: str,
    port: int,
    *,
    insecure: bool = False,
) -> None:
    """Serve the page of the service at `service` until SIGTERM or SIGINT.

    With a key the page asks for it as well. Raises SettingsError for an address that others could
    reach without one, or that cannot be listened on.
    """
    keys = ApiKeys(key)
    refuse_bind(host, keys, insecure)
    listen_on(host, port).close()  # Gradio's own refusal names no fix
    with ServiceClient(service, key) as client:
        try:
            client.ready()
        except ServiceError as error:
            terminal.say(f"{error} yet: the page says so until it can be")
        with _shown(Page(client, reads_uploads=False), keys, host, port) as url:
            terminal.say(f"the page of {client.url} is at {url}")
            with stopped_by_signal() as stopped, suppress(KeyboardInterrupt):
                stopped.wait()
    terminal.say("stopped")


@contextmanager
def _shown(page: Page, keys: ApiKeys, host: str, port: int) -> Iterator[str]:
    """The page at its address, for as long as this lasts."""
    blocks = _blocks(page)
    blocks.launch(
        server_name=host,
        server_port=port,
        auth=None if keys.is_open else _may_enter(keys),
        auth_message=_ENTER,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        max_file_size=_LARGEST_FRAME,
        app_kwargs={"middleware": _own_hosts(host)},
        **looks(),
    )
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}"
    finally:
        page.close()
        blocks.close(verbose=False)


def mount_page(app: FastAPI, client: ServiceClient, keys: ApiKeys) -> FastAPI:
    """`app` with the page of its own service at `PATH`.

    Where the service needs a key, so does the page: as the password, under any name, and one that
    may do everything, as the page does.
    """
    blocks = _blocks(Page(client, reads_uploads=True))
    blocks.has_launched = (
        True  # Gradio lets a page that is only mounted read any file it is told of
    )
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path=PATH,
        ssr_mode=False,
        run_history=False,
        auth=None if keys.is_open else _may_enter(keys),
        auth_message=_ENTER,
        max_file_size=_LARGEST_UPLOAD,
        **looks(),
    )
    return mounted


def _blocks(page: Page) -> gr.Blocks:
    """With threads of its own: the service's must not all wait for the service."""
    blocks = build_page(page)
    blocks.max_threads = _THREADS
    blocks.create_limiter()  # type: ignore[no-untyped-call]
    return blocks


def _own_hosts(host: str) -> list[Middleware]:
    """A page on loopback answers to the names of this machine only, as the service does."""
    if host not in _LOOPBACK:
        return []
    return [Middleware(TrustedHostMiddleware, allowed_hosts=list(_LOOPBACK))]


def _may_enter(keys: ApiKeys) -> Callable[[str, str], bool]:
    def may_enter(name: str, password: str) -> bool:
        caller = keys.check(f"Bearer {password}")
        return caller is not None and caller.may(Action.MANAGE, None)

    return may_enter
