"""make_family: finds the Family that drives a loaded model."""

from pathlib import Path
from typing import TYPE_CHECKING

from encoders import Family, UnsupportedModelError
from memory.errors import UnknownNameError
from memory.registry import Registry

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FAMILIES = Registry(Family, "vstream.families", "model family")


def make_family(
    model: "PreTrainedModel", directory: Path, sample_fps: float | None, system: str = ""
) -> Family:
    """Return the family of a checkpoint, named by `vstream_family` in config.json or `model_type`.

    `sample_fps` is the rate at which frames will be encoded; None is what the family recommends.
    `system` is a system prompt in place of the template's own; "" is the template's. Raises
    UnsupportedModelError.
    """
    name = getattr(model.config, "vstream_family", model.config.model_type)
    known = FAMILIES.names()
    if name not in known:
        reason = f"no family is known for {name}"
        if not hasattr(model.config, "vision_config"):
            reason = (
                f"{name} has no vision tower, so it cannot watch video; with "
                '"vstream_family": "text" in its config.json it reads a stream of text'
            )
        raise UnsupportedModelError(f"{reason}. Known families: {', '.join(known)}")
    try:
        family = FAMILIES.find(name)
    except UnknownNameError as error:
        raise UnsupportedModelError(" ".join(str(error).split())) from error
    return family(model, directory, sample_fps or family.recommended.sample_fps, system)
