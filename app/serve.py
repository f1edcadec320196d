"""`vstream serve`: streams, questions, searches and watches over HTTP."""

import os

import torch

from app.server.keys import ApiKeys, master_key, new_key, refuse_bind
from app.server.run import run
from app.server.service import Service
from app.server.service_log import log_to_stderr
from app.server.settings import ServiceSettings
from app.terminal import Terminal
from memory import store_name
from vstream.cpu_threads import choose_cpu_threads
from vstream.free_memory import bound_arenas


def run_service(terminal: Terminal, settings: ServiceSettings) -> None:
    """Serve until a signal. Raises SettingsError, ModelError, StoreError."""
    limits = settings.service
    keys = ApiKeys(master_key(os.environ), limits.keys)
    refuse_bind(limits.host, keys, limits.insecure)
    bound_arenas()
    log_to_stderr()
    limit_threads(settings)
    service = Service(settings, keys)

    def listening(url: str) -> None:
        locked = "anyone on this machine may ask" if keys.is_open else "a key is needed"
        terminal.say(f"listening on {url} ({locked}); documentation at {url}/docs")
        store = store_name(settings.memory.store)
        terminal.say(f"store {store}, model {settings.model or 'embedded'}: loading")

    run(service, listening)
    terminal.say("stopped")


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
