"""What is told to everybody: whether the service lives and is ready, its version and figures."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.server.access import ServiceHere, limited
from app.server.api_errors import DOCUMENTED
from app.server.service import Phase

router = APIRouter(tags=["system"])


class Health(BaseModel):
    status: str = "ok"


class Ready(BaseModel):
    """`store` is away while new blocks wait for it."""

    status: str
    model: str
    store: str
    streams: int
    detail: str | None = None


class Version(BaseModel):
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
    object: str = "list"
    data: list[ModelDocument]


@router.get("/health")
def health() -> Health:
    """The process answers."""
    return Health()


@router.get("/ready", response_model=Ready, responses={503: {"model": Ready}})
def ready(service: ServiceHere) -> Any:
    """Questions can be asked: the model is loaded and the store takes blocks."""
    phase = service.phase
    model = "loaded" if phase in (Phase.READY, Phase.DRAINING) else phase.value
    failure = None if service.failure is None else str(service.failure)
    if phase is not Phase.READY:
        told = Ready(status=phase, model=model, store="unknown", streams=0, detail=failure)
        return JSONResponse(told.model_dump(), 503)
    keepers = service.live.streams.all()
    away = [keeper.session.memory.away for keeper in keepers if keeper.session.memory.away]
    told = Ready(
        status="ready",
        model=model,
        store="away" if away else "ok",
        streams=len(keepers),
        detail=away[0] if away else None,
    )
    return JSONResponse(told.model_dump(), 503 if away else 200)


@router.get("/version")
def the_version() -> Version:
    """Of vstream."""
    return Version(version=version("vstream"))


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text format."}},
)
def metrics(service: ServiceHere) -> Response:
    """Figures for Prometheus."""
    content, kind = service.metrics.text()
    return Response(content, media_type=kind)


@router.get("/v1/models", responses=DOCUMENTED, dependencies=[Depends(limited)])
def models(service: ServiceHere) -> ModelList:
    """The one model that answers, under both its names."""
    model = service.live.model
    told = ModelDocument(
        id=model.name,
        created=int(service.started_at),
        fingerprint=model.fingerprint,
        sample_fps=model.sample_fps,
        reads_context=model.family.recommended.reads_context,
    )
    return ModelList(data=[told.model_copy(update={"id": "default"}), told])
