"""Health, readiness, version, metrics and models of the service."""

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.real_model import real_model
from app.server.access import ServiceHere
from app.server.api_errors import ApiError
from app.server.asking import require_model
from app.server.documents import ModelDocument
from app.server.service import Phase, Service
from app.server.threads import Work, in_threads
from encoders.families.text import Text
from vstream.service.stream_status import STORE_AWAY

router = APIRouter(tags=["system"])
models = APIRouter(prefix="/v1/models", tags=["models"])


class Health(BaseModel):
    status: str = "ok"


class Ready(BaseModel):
    """`store` is `away` while new blocks wait for it. `loading_s` is how long the model
    `model_name` has been loading.
    """

    status: str
    model: str
    model_name: str
    loading_s: float | None = None
    store: str
    streams: int
    detail: str | None = None


class Version(BaseModel):
    version: str


@router.get("/health", summary="Check health")
async def health() -> Health:
    """Succeed as long as the process runs."""
    return Health()


@router.get(
    "/ready", summary="Check readiness", response_model=Ready, responses={503: {"model": Ready}}
)
async def ready(service: ServiceHere, request: Request) -> Any:
    """Succeed once the model is loaded and while the store takes blocks."""
    state = await in_threads(request, Work.TELLING, lambda: _ready(service))
    return JSONResponse(state.model_dump(), 200 if state.store == "ok" else 503)


def _ready(service: Service) -> Ready:
    phase = service.phase
    model = "loaded" if phase in (Phase.READY, Phase.DRAINING) else phase.value
    failure = None if service.failure is None else str(service.failure)
    name = Path(service.settings.model or "embedded")
    named = {"model": model, "model_name": name.name if name.is_dir() else str(name)}
    if phase is not Phase.READY:
        since_s = time.time() - service.started_at if phase is Phase.LOADING else None
        unready = Ready(status=phase, store="unknown", streams=0, detail=failure, **named)
        return unready.model_copy(update={"loading_s": since_s})
    keepers = service.loaded.streams.all()
    problems = [keeper.status.problem for keeper in keepers]
    away = [one.message for one in problems if one is not None and one.code == STORE_AWAY]
    return Ready(
        status="ready",
        **named,
        store="away" if away else "ok",
        streams=len(keepers),
        detail=away[0] if away else None,
    )


@router.get("/version", summary="Get the version")
async def the_version() -> Version:
    """Return the version of vstream."""
    return Version(version=version("vstream"))


@router.get(
    "/metrics",
    summary="Get metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
async def metrics(service: ServiceHere, request: Request) -> Response:
    """Return all metrics in Prometheus's text format."""
    content, kind = await in_threads(request, Work.TELLING, service.metrics.text)
    return Response(content, media_type=kind)


@router.api_route("/", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/v1", methods=["GET", "POST"], include_in_schema=False)
async def no_route() -> None:
    """Help clients that post to the base URL itself; they show only the error's message."""
    why = "nothing is here: set the client's base URL to end in /v1, and post to /chat/completions"
    raise ApiError(404, why, "not_found")


class ModelList(BaseModel):
    object: str = "list"
    data: list[ModelDocument]


@models.get("", summary="List models")
def all_models(service: ServiceHere) -> ModelList:
    """Return the one model that answers, under each of its names."""
    names = "default", service.loaded.model.name, *service.settings.service.model_aliases
    return ModelList(data=[_told(service, name) for name in dict.fromkeys(names)])


@models.get("/{model:path}", summary="Get a model")
def one_model(service: ServiceHere, model: str) -> ModelDocument:
    """Look the model up by any of its names."""
    require_model(service, model)
    return _told(service, model)


def _told(service: Service, name: str) -> ModelDocument:
    model = service.loaded.model
    recommended = model.family.recommended
    return ModelDocument(
        id=name,
        created=int(service.started_at),
        fingerprint=model.fingerprint,
        max_model_len=model.decoder.max_positions,
        input_modalities=["text"] if isinstance(model.family, Text) else ["text", "image", "video"],
        sample_fps=model.sample_fps,
        reads_context=recommended.reads_context,
        reads_dialogue=recommended.reads_dialogue,
        knows=recommended.knows,
        real_model=None if recommended.knows is None else real_model(),
    )
