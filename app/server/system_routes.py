"""What is told to everybody: whether the service lives and is ready, its version and figures."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.server.access import ServiceHere
from app.server.asking import require_model
from app.server.service import Phase, Service
from vstream.service.stream_status import STORE_AWAY

router = APIRouter(tags=["system"])
models = APIRouter(prefix="/v1/models", tags=["models"])


class Health(BaseModel):
    """That it lives."""

    status: str = "ok"


class Ready(BaseModel):
    """`store` is away while new blocks wait for it."""

    status: str
    model: str
    store: str
    streams: int
    detail: str | None = None


class Version(BaseModel):
    """Of the software."""

    version: str


class ModelDocument(BaseModel):
    """`default` and the model's own name mean the same."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "vstream"
    fingerprint: str
    sample_fps: float
    reads_context: bool


class ModelList(BaseModel):
    """As OpenAI's."""

    object: str = "list"
    data: list[ModelDocument]


@router.get("/health", summary="Is it alive")
def health() -> Health:
    """The process answers."""
    return Health()


@router.get(
    "/ready", summary="Is it ready", response_model=Ready, responses={503: {"model": Ready}}
)
def ready(service: ServiceHere) -> Any:
    """Questions can be asked: the model is loaded and the store takes blocks."""
    phase = service.phase
    model = "loaded" if phase in (Phase.READY, Phase.DRAINING) else phase.value
    failure = None if service.failure is None else str(service.failure)
    if phase is not Phase.READY:
        told = Ready(status=phase, model=model, store="unknown", streams=0, detail=failure)
        return JSONResponse(told.model_dump(), 503)
    keepers = service.live.streams.all()
    problems = [keeper.status.problem for keeper in keepers]
    away = [one.message for one in problems if one is not None and one.code == STORE_AWAY]
    told = Ready(
        status="ready",
        model=model,
        store="away" if away else "ok",
        streams=len(keepers),
        detail=away[0] if away else None,
    )
    return JSONResponse(told.model_dump(), 503 if away else 200)


@router.get("/version", summary="Get the version")
def the_version() -> Version:
    """Of vstream."""
    return Version(version=version("vstream"))


@router.get(
    "/metrics",
    summary="Get metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
def metrics(service: ServiceHere) -> Response:
    """Figures for Prometheus."""
    content, kind = service.metrics.text()
    return Response(content, media_type=kind)


@models.get("", summary="List models")
def all_models(service: ServiceHere) -> ModelList:
    """The one model that answers, under both its names."""
    own = service.live.model.name
    return ModelList(data=[_told(service, name) for name in ("default", own)])


@models.get("/{model:path}", summary="Get a model")
def one_model(service: ServiceHere, model: str) -> ModelDocument:
    """By either of its names."""
    require_model(service, model)
    return _told(service, model)


def _told(service: Service, name: str) -> ModelDocument:
    model = service.live.model
    return ModelDocument(
        id=name,
        created=int(service.started_at),
        fingerprint=model.fingerprint,
        sample_fps=model.sample_fps,
        reads_context=model.family.recommended.reads_context,
    )
