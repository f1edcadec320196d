"""`vstream ui`: serve the web page of a service that runs elsewhere; also mounts it on one here."""

import logging
import threading
from contextlib import closing, suppress

import uvicorn
from fastapi import FastAPI
from starlette.responses import RedirectResponse
from starlette.routing import Route

from app.client import ServiceClient, ServiceError
from app.page import gr
from app.page.layout import build_page, looks
from app.page.page import Page
from app.server.connections import ConnectionBounds, bounded_config, in_url, listen_on
from app.server.keys import Action, ApiKeys, refuse_bind
from app.server.origin_guard import OriginGuard, own_hosts
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal

PATH = "/ui"
_LARGEST_UPLOAD = "2gb"
_LARGEST_FRAME = "10mb"
_THREADS = 100
_LOOK_S = 0.5
_LEFT_S = 2
"""Grace period on SIGTERM for open pages."""
_ENTER = "The password is the service's key. Enter any name."


def show_page(
    terminal: Terminal,
    service: str,
    key: str | None,
    host: str,
    port: int,
    *,
    insecure: bool = False,
) -> None:
    """Serve the page of the service at `service` until SIGTERM or SIGINT; its password is `key`.
    Raises SettingsError if it cannot listen, or if other machines could reach it without a key.
    """
    keys = ApiKeys(key)
    refuse_bind(host, keys, insecure)
    with closing(listen_on(host, port)) as listening, ServiceClient(service, key) as client:
        try:
            client.ready()
        except ServiceError as error:
            terminal.say(f"{error} yet; the page will say so until it can")
        page = Page(client, reads_uploads=False)
        app = FastAPI(openapi_url=None)
        app.add_middleware(OriginGuard, hosts=own_hosts(host, keys, insecure))
        mounted = _mounted(app, page, keys, "/", _LARGEST_FRAME)
        served = bounded_config(mounted, ConnectionBounds(), timeout_graceful_shutdown=_LEFT_S)
        logging.getLogger("uvicorn").setLevel(
            logging.CRITICAL
        )  # it complains of open pages at exit
        server = uvicorn.Server(served)
        thread = threading.Thread(target=server.run, args=([listening],), name="page", daemon=True)
        thread.start()
        shown, port = in_url(host), listening.getsockname()[1]
        with stopped_by_signal() as stopped, suppress(KeyboardInterrupt):
            terminal.say(f"the page of {client.url} is at http://{shown}:{port}")
            while thread.is_alive() and not stopped.wait(_LOOK_S):
                continue
        page.close()
        server.should_exit = True
        thread.join()
    terminal.say("stopped")


def mount_page(app: FastAPI, client: ServiceClient, keys: ApiKeys) -> FastAPI:
    """Mount the page of `app`'s own service at `PATH`. If the service needs a key, so does the
    page, as its password under any name; the key must allow everything, since the page does.
    """
    to_page = Route("/", lambda request: RedirectResponse(PATH), methods=["GET"])
    app.router.routes.insert(0, to_page)
    return _mounted(app, Page(client, reads_uploads=True), keys, PATH, _LARGEST_UPLOAD)


def _mounted(app: FastAPI, page: Page, keys: ApiKeys, path: str, largest: str) -> FastAPI:
    """Mount the page with its own threads, so that it cannot use up the service's."""

    def may_enter(name: str, password: str) -> bool:
        caller = keys.check(f"Bearer {password}")
        return caller is not None and caller.may(Action.MANAGE, None)

    blocks = build_page(page)
    blocks.max_threads = _THREADS
    blocks.create_limiter()  # type: ignore[no-untyped-call]
    # Without this, Gradio lets a mounted page read any file that a request names.
    blocks.has_launched = True
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        blocks,
        path=path,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        auth=None if keys.is_open else may_enter,
        auth_message=_ENTER,
        max_file_size=largest,
        **looks(),
    )
    return mounted
