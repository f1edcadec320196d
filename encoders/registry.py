"""make_family: a loaded model and its directory in, the Family that drives it out."""

from pathlib import Path
from typing import TYPE_CHECKING

from encoders.embedded import Embedded
from encoders.errors import UnsupportedModelError
from encoders.family import Family
from encoders.llava_onevision import LlavaOneVision
from encoders.qwen2_5_vl import Qwen25VL
from encoders.qwen3_vl import Qwen3VL
from encoders.smolvlm import SmolVLM

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FAMILIES = {
    family.name: family for family in (LlavaOneVision, Qwen25VL, Qwen3VL, SmolVLM, Embedded)
}


def make_family(
    model: "PreTrainedModel", directory: Path, sample_fps: float | None, system: str = ""
) -> Family:
    """The family of a checkpoint: its `model_type`, or `vstream_family` where config.json has it.

    `sample_fps` is the rate at which frames will be encoded; None is what the family recommends.
    `system` is a system prompt in place of the template's own; "" is the template's. Raises
    UnsupportedModelError.
    """
    name = getattr(model.config, "vstream_family", model.config.model_type)
    if name in _FAMILIES:
        family = _FAMILIES[name]
        return family(model, directory, sample_fps or family.recommended.sample_fps, system)
    known = ", ".join(sorted(_FAMILIES))
    if not hasattr(model.config, "vision_config"):
        raise UnsupportedModelError(
            f"{name} has no vision tower, so it cannot watch video. Known families: {known}"
        )
    raise UnsupportedModelError(f"no family is known for {name}. Known families: {known}")
