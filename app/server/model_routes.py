"""/v1/models: the model that answers told of."""

from fastapi import APIRouter
from pydantic import BaseModel

from app.server.access import ServiceHere
from app.server.asking import require_model
from app.server.documents import ModelDocument
from app.server.service import Service

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelList(BaseModel):
    """As OpenAI's."""

    object: str = "list"
    data: list[ModelDocument]


@router.get("", summary="List models")
def all_models(service: ServiceHere) -> ModelList:
    """The one model that answers, under both its names."""
    own = service.loaded.model.name
    return ModelList(data=[_told(service, name) for name in ("default", own)])


@router.get("/{model:path}", summary="Get a model")
def one_model(service: ServiceHere, model: str) -> ModelDocument:
    """By either of its names."""
    require_model(service, model)
    return _told(service, model)


def _told(service: Service, name: str) -> ModelDocument:
    model = service.loaded.model
    recommended = model.family.recommended
    return ModelDocument(
        id=name,
        created=int(service.started_at),
        fingerprint=model.fingerprint,
        sample_fps=model.sample_fps,
        reads_context=recommended.reads_context,
        reads_dialogue=recommended.reads_dialogue,
        knows=recommended.knows,
    )
