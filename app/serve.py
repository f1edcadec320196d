"""`vstream serve`: streams, questions, searches and watches over HTTP."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from fastapi import FastAPI

from app.client import ServiceClient
from app.server.keys import ApiKeys, master_key, new_key, refuse_bind
from app.server.run import run
from app.server.service import Service
from app.server.service_log import log_to_stderr
from app.server.settings import ServiceSettings
from app.terminal import Terminal
from memory import store_name
from vstream.cpu_threads import choose_cpu_threads
from vstream.free_memory import bound_arenas


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
    if master is None and limits.keys:
        master = new_key()[0]  # of this process alone: the page asks with it
    keys = ApiKeys(master, limits.keys)
    refuse_bind(limits.host, keys, limits.insecure)
    bound_arenas()
    log_to_stderr()
    limit_threads(settings)
    uploads = _uploads_folder()
    allowed = limits.model_copy(update={"allow_files": (*limits.allow_files, uploads)})
    service = Service(settings.model_copy(update={"service": allowed}) if page else settings, keys)

    def listening(url: str) -> None:
        locked = "anyone on this machine may ask" if keys.is_open else "a key is needed"
        terminal.say(f"listening on {url} ({locked}); documentation at {url}/docs")
        if page:
            terminal.say(f"page at {url}/ui")
        store = store_name(settings.memory.store)
        terminal.say(f"store {store}, model {settings.model or 'embedded'}: loading")

        on_listening(url)

    def with_page(app: FastAPI, url: str) -> FastAPI:
        if not page:
            return app
        from app.ui import mount_page  # Gradio takes seconds to import: only where it is shown

        return mount_page(app, ServiceClient(url, master), keys)

    run(service, listening, with_page)
    terminal.say("stopped")


def _uploads_folder() -> Path:
    """Where the page keeps what its visitors upload: the service may read it."""
    folder = Path(tempfile.mkdtemp(prefix="vstream-uploads-"))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return folder


def make_key(terminal: Terminal) -> None:
    """Print a new key and the hash that goes into the configuration."""
    key, hashed = new_key()
    terminal.document(f"key:  {key}")
    terminal.document(f"hash: {hashed}")


def limit_threads(settings: ServiceSettings) -> None:
    """As configured, or as measured."""
    if settings.threads is None:
        choose_cpu_threads()
    else:
        torch.set_num_threads(settings.threads)
