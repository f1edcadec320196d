"""`vstream ui`: the web page over a service that runs elsewhere; and where a service shows it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import gradio as gr
from fastapi import FastAPI

from app.client import ServiceClient, ServiceError
from app.page.layout import build_page, looks
from app.page.page import Page
from app.server.keys import Action, ApiKeys, refuse_bind
from app.server.run import listen_on
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal

PATH = "/ui"
_LARGEST_UPLOAD = "2gb"
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
    blocks = build_page(page)
    blocks.launch(
        server_name=host,
        server_port=port,
        auth=None if keys.is_open else _may_enter(keys),
        auth_message=_ENTER,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        enable_monitoring=False,
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
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(Page(client, reads_uploads=True)),
        path=PATH,
        ssr_mode=False,
        auth=None if keys.is_open else _may_enter(keys),
        auth_message=_ENTER,
        max_file_size=_LARGEST_UPLOAD,
        **looks(),
    )
    return mounted


def _may_enter(keys: ApiKeys) -> Callable[[str, str], bool]:
    def may_enter(name: str, password: str) -> bool:
        caller = keys.check(f"Bearer {password}")
        return caller is not None and caller.may(Action.MANAGE, None)

    return may_enter
