"""create_app: a Service in, the FastAPI application with all its routes out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI

from app.server import (
    chat_routes,
    event_routes,
    frame_routes,
    model_routes,
    response_routes,
    search_routes,
    stream_routes,
    system_routes,
    timeline_routes,
    watch_routes,
)
from app.server.access import limited
from app.server.api_errors import DOCUMENTED, answer_errors
from app.server.request_guard import RequestGuard
from app.server.service import Service

_ABOUT = """Watches live video and answers questions about it, citing the moments used.
A stream is named in a question as a `video_url` of `stream://ID`, so that any OpenAI client can
ask. Times are RFC 3339 or seconds since the epoch, or relative, as `-10m`; what ends in `_s` is
stream time, seconds since the stream began."""


def create_app(service: Service) -> FastAPI:
    """The application; its lifespan loads and closes the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = service.settings.service
        app.state.answering = CapacityLimiter(limits.max_running + limits.max_waiting + 8)
        service.load_in_background()
        yield
        await to_thread.run_sync(service.close)

    app = FastAPI(
        title="vstream",
        version=version("vstream"),
        description=_ABOUT,
        lifespan=lifespan,
        responses=DOCUMENTED,
        redoc_url=None,
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}",
    )
    app.state.service = service
    answer_errors(app)
    app.include_router(system_routes.router)
    app.include_router(frame_routes.pushing)
    for routes in (
        model_routes.router,
        stream_routes.router,
        timeline_routes.router,
        frame_routes.router,
        chat_routes.router,
        response_routes.router,
        search_routes.router,
        watch_routes.router,
        event_routes.router,
    ):
        app.include_router(routes, dependencies=[Depends(limited)])
    app.add_middleware(
        RequestGuard,
        max_body_bytes=service.settings.service.max_body_bytes,
        metrics=service.metrics,
        hosts=_own_hosts(service),
        keys=service.keys,
    )
    return app


def _own_hosts(service: Service) -> list[str] | None:
    """Under which names the service may be asked; any where a key is needed or safety waived."""
    limits = service.settings.service
    if not service.keys.is_open or limits.insecure:
        return None
    return ["localhost", "127.0.0.1", "::1", limits.host.lower()]
