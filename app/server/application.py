"""create_app: build the FastAPI application of a Service, with all its routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI
from fastapi.responses import HTMLResponse

from app.server import (
    alert_routes,
    answer_routes,
    chat_routes,
    event_routes,
    firing_routes,
    frame_routes,
    moment_routes,
    picture_routes,
    realtime,
    recap_routes,
    response_routes,
    search_routes,
    stream_routes,
    system_routes,
    timeline_routes,
    watch_routes,
)
from app.server.access import limited
from app.server.api_errors import DOCUMENTED, answer_errors
from app.server.docs_page import docs_page
from app.server.guards import guards
from app.server.request_guard import KeyGuard
from app.server.service import Service
from app.server.threads import open_threads

_ABOUT = """Watches live video and answers questions about it, citing the moments used.
A question names a stream as a `video_url` of `stream://ID`, so any OpenAI client can ask. Times are
RFC 3339, seconds since the epoch, or relative, e.g. `-10m`. Names that end in `_s` are stream time:
seconds since the stream began."""


_LIMITED = (
    system_routes.models,
    stream_routes.router,
    timeline_routes.router,
    picture_routes.router,
    chat_routes.router,
    response_routes.router,
    search_routes.router,
    moment_routes.router,
    recap_routes.router,
    alert_routes.router,
    answer_routes.router,
    firing_routes.router,
    watch_routes.router,
    event_routes.router,
)
"""Routes that count towards the caller's limit on requests."""


def create_app(service: Service) -> FastAPI:
    """The application; its lifespan loads and closes the service."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.answering = CapacityLimiter(service.answering.most)
        open_threads(app)
        service.load_in_background()
        yield
        await to_thread.run_sync(service.close)

    app = FastAPI(
        title="vstream",
        version=version("vstream"),
        description=_ABOUT,
        lifespan=lifespan,
        responses=DOCUMENTED,
        docs_url=None,  # FastAPI's page loads a third-party script, and users type keys into it
        redoc_url=None,
        generate_unique_id_function=lambda route: f"{route.tags[0]}_{route.name}",
    )
    app.state.service = service
    service.resume = partial(response_routes.resume, service)
    answer_errors(app)
    for free in (system_routes.router, frame_routes.router, realtime.router):
        app.include_router(free)
    for routes in _LIMITED:
        app.include_router(routes, dependencies=[Depends(limited)])
    app.add_api_route(
        "/docs",
        lambda: HTMLResponse(docs_page(app.openapi())),
        include_in_schema=False,
        name="docs",
        tags=["system"],
    )
    # The first one that is added is the last one that sees a request.
    app.add_middleware(KeyGuard, keys=service.keys)
    for guard, more in guards(service.settings.service, service.keys, service.metrics.saw_request):
        app.add_middleware(guard, **more)
    return app
