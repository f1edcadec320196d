"""guards: bounds and keys in, what stands in front of an application out, innermost first."""

from collections.abc import Callable
from typing import Any

from starlette.middleware.cors import CORSMiddleware

from app.server.keys import ApiKeys
from app.server.origin_guard import Origin, OriginGuard, own_hosts
from app.server.request_guard import RequestGuard
from app.server.settings import ServiceConfig


def guards(
    limits: ServiceConfig, keys: ApiKeys, saw_request: Callable[[str, str, int], None]
) -> list[tuple[Any, dict[str, Any]]]:
    """Classes of ASGI middleware, each with its arguments; `saw_request` as of RequestGuard."""
    origins = {
        "allow_origins": limits.allow_origins,
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "expose_headers": ["Retry-After", "X-Stream-Time", "X-Capture-Time"],
    }
    hosts = own_hosts(limits.host, keys, limits.insecure)
    allowed = [origin for text in limits.allow_origins if (origin := Origin.parse(text))]
    return [
        (CORSMiddleware, origins),  # with one here Gradio adds none, which answers every page
        (OriginGuard, {"hosts": hosts, "allowed": allowed}),
        (RequestGuard, {"limits": limits, "saw_request": saw_request}),
    ]
