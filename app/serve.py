"""`vstream serve`: serve streams, questions, searches and alerts over HTTP."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from fastapi import FastAPI

from app.client import ServiceClient
from app.model import limit_threads
from app.sample import SAMPLE_VIDEO
from app.server.keys import ApiKeys, master_key, new_key, refuse_bind
from app.server.run import run
from app.server.service import Phase, Service
from app.server.service_log import log_to_stderr
from app.server.settings import ServiceSettings
from app.terminal import Terminal
from app.uploads import UploadBound, uploads_folder
from memory import store_name
from vstream.device.free_memory import bound_arenas

_LOOK_S = 0.1


def run_service(
    terminal: Terminal,
    settings: ServiceSettings,
    *,
    page: bool = True,
    on_listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until a signal, with the page at /ui. Raises SettingsError, ModelError, StoreError."""
    limits = settings.service
    master = master_key(os.environ)
    if page and master is None and limits.keys:
        master = new_key()[0]  # a key for the page, which lives as long as this process
    keys = ApiKeys(master, limits.keys)
    refuse_bind(limits.host, keys, limits.insecure)
    bound_arenas()
    log_to_stderr()
    limit_threads(settings)

    def listening(url: str) -> None:
        locked = "no key needed" if keys.is_open else "key needed"
        terminal.say(f"listening on {url} ({locked}); routes at {url}/openapi.json")
        if page:
            terminal.say(f"page at {url}/ui")
        store = store_name(settings.memory.store)
        name = settings.model or "embedded"
        terminal.say(f"store {store}, loading model {name}")
        if terminal.err.is_terminal:
            loading = f"loading model {name}"
            threading.Thread(target=_show, args=(terminal, loading, service), daemon=True).start()
        on_listening(url)

    def with_page(app: FastAPI, url: str) -> FastAPI:
        if not page:
            return app
        with terminal.loading("preparing the page"):
            from app.ui import mount_page  # imports Gradio, which takes seconds

            app.add_middleware(UploadBound, folder=uploads, most_bytes=limits.uploads_bytes)
            client = ServiceClient(url, master, service.page_token)
            return mount_page(app, client, keys)

    with ExitStack() as until_end:
        if page:
            os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
            uploads = until_end.enter_context(uploads_folder())
            readable = (*limits.allow_files, uploads, SAMPLE_VIDEO)
            limits = limits.model_copy(update={"allow_files": readable})
            settings = settings.model_copy(update={"service": limits})
        service = Service(settings, keys)
        run(service, listening, with_page)
    terminal.say("stopped")
    if service.is_loading:
        os._exit(0)  # everything is flushed; a normal exit would crash in a loading thread


def _show(terminal: Terminal, what: str, service: Service) -> None:
    """Show a bar until the service is ready or has failed."""
    with terminal.loading(what):
        while service.phase is Phase.LOADING:
            time.sleep(_LOOK_S)
