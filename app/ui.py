"""`vstream ui`: the web page over a service that runs elsewhere; and where a service shows it."""

from typing import Any

import gradio as gr
from fastapi import FastAPI

from app.client import ServiceClient
from app.page.layout import build_page
from app.page.style import CSS, JS
from app.server.keys import Action, ApiKeys
from app.terminal import Terminal

PATH = "/ui"
_LARGEST_UPLOAD = "2gb"


def show_page(terminal: Terminal, service: str, key: str | None, host: str, port: int) -> None:
    """Serve the page of the service at `service` until a signal. Raises ServiceError."""
    client = ServiceClient(service, key)
    client.ready()
    terminal.say(f"the page of {client.url} is at http://{host}:{port}")
    build_page(client).launch(
        server_name=host, server_port=port, quiet=True, ssr_mode=False, footer_links=[], **looks()
    )


def mount_page(app: FastAPI, client: ServiceClient, keys: ApiKeys) -> FastAPI:
    """`app` with the page of its own service at `PATH`.

    Where the service needs a key, so does the page: as the password, under any name, and one that
    may do everything, as the page does.
    """

    def may_enter(name: str, password: str) -> bool:
        caller = keys.check(f"Bearer {password}")
        return caller is not None and caller.may(Action.MANAGE, None)

    mounted: FastAPI = gr.mount_gradio_app(
        app,
        build_page(client),
        path=PATH,
        ssr_mode=False,
        footer_links=[],
        auth=None if keys.is_open else may_enter,
        auth_message="The password is the service's key; any name will do.",
        max_file_size=_LARGEST_UPLOAD,
        **looks(),
    )
    return mounted


def looks() -> dict[str, Any]:
    """What Gradio is told of style and keys, wherever the page is shown."""
    return {"css": CSS, "js": JS, "theme": gr.themes.Soft()}
