"""/v1/models: the model that answers told of, and another one loaded in its place."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.server.access import CallerHere, ServiceHere, require
from app.server.asking import require_model
from app.server.documents import ModelChange, ModelDocument
from app.server.keys import Action
from app.server.model_name import named_model
from app.server.service import Service

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelList(BaseModel):
    """As OpenAI's."""

    object: str = "list"
    data: list[ModelDocument]


class ModelWish(BaseModel):
    """What to load. `dtype` and `device` are as configured for the service unless given."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str = Field(
        min_length=1,
        max_length=1024,
        description="A hub id; a directory by its whole path, in allow_files; or `embedded`.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    device: str | None = Field(
        None, pattern=r"^[a-z]{1,16}(:\d{1,3})?$", description="As cuda:0 or cpu."
    )


@router.get("", summary="List models")
def all_models(service: ServiceHere) -> ModelList:
    """The one model that answers, under both its names."""
    own = service.live.model.name
    return ModelList(data=[_told(service, name) for name in ("default", own)])


@router.post("/load", status_code=202, summary="Load a model")
def load(service: ServiceHere, caller: CallerHere, wanted: ModelWish) -> ModelChange:
    """Load another model beside the one that answers, which goes on until the new one is ready."""
    require(caller, Action.MANAGE, None)
    named = named_model(wanted.model, service.settings.model, service.policy)
    return service.change_model(named, wanted.device, wanted.dtype)


@router.get("/load", summary="Get the load of a model")
def get_load(service: ServiceHere, caller: CallerHere) -> ModelChange:
    """How far the newest change of the model has come, and what came of it."""
    require(caller, Action.MANAGE, None)
    return service.changes.told


@router.get("/{model:path}", summary="Get a model")
def one_model(service: ServiceHere, model: str) -> ModelDocument:
    """By either of its names."""
    require_model(service, model)
    return _told(service, model)


def _told(service: Service, name: str) -> ModelDocument:
    model = service.live.model
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
