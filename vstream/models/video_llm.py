"""VideoLLM: a checkpoint ready to stream, its family in front and its decoder behind the hook."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError

from encoders import Family, UnsupportedModelError
from vstream.device.scheduler import Scheduler
from vstream.device.work import FairLock
from vstream.engine.decoder import Decoder
from vstream.engine.passes import FastPath
from vstream.errors import ModelError
from vstream.models.families import make_family
from vstream.models.gguf_file import load_gguf
from vstream.models.hub import hub_checkpoint
from vstream.models.weight_files import checkpoint_fingerprint, require_room
from vstream.models.weights import embedded_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST_FAMILIES = 16
"""How many rates and system prompts keep their family, for those who ask for them next."""
_DAMAGED = (
    *(ValueError, TypeError, AttributeError, KeyError, OSError, RuntimeError, ArithmeticError),
    SafetensorError,
)
"""What transformers raises for files with wrong contents."""
_MOST_CONFIG_BYTES = 4 << 20
"""Of a config.json: published ones have less than a hundredth of it."""
_MOST_LAYERS = 10_000
"""Far beyond any model. As many as are named are built before the weights are looked at."""


@dataclass(frozen=True, eq=False)
class VideoLLM:
    """One model on one device, shared by all its sessions."""

    name: str
    fingerprint: str
    family: Family
    decoder: Decoder
    sample_fps: float
    scheduler: Scheduler
    family_for: Callable[[float, str], Family] | None = None
    """Makes the family for another sampling rate and system prompt; None if that is impossible."""
    system: str = ""
    """The system prompt; "" is that of the checkpoint's template, if it has one."""

    def at_rate(self, sample_fps: float) -> "VideoLLM":
        """Return this model for streams sampled at another rate. Raises ModelError."""
        if sample_fps == self.sample_fps:
            return self
        if self.family_for is None:
            raise ModelError(f"{self.name} is for {self.sample_fps:g} frames a second")
        family = self.family_for(sample_fps, self.system)
        return replace(self, family=family, sample_fps=sample_fps)

    def with_system(self, system: str) -> "VideoLLM":
        """Return this model for streams that open with another system prompt. Its fingerprint
        differs, as their blocks are not those of other streams. Raises ModelError if the template
        has no place for a system prompt.
        """
        if system == self.system:
            return self
        if self.family_for is None:
            raise ModelError(f"{self.name} has the system prompt that it was loaded with")
        try:
            family = self.family_for(self.sample_fps, system)
        except UnsupportedModelError as error:
            raise ModelError(f"{self.name} takes no system prompt: {error}") from error
        digest = hashlib.sha256(system.encode()).hexdigest()[:8]
        made_by = self.fingerprint.split("+")[0] + (f"+{digest}" if system else "")
        return replace(self, family=family, fingerprint=made_by, system=system)

    @property
    def turn(self) -> FairLock:
        """Hold it to read or change a memory of this device from outside the scheduler."""
        return self.scheduler.turn


def load_video_llm(
    name: str | None, device: str = "auto", dtype: str = "auto", sample_fps: float | None = None
) -> VideoLLM:
    """Load a hub id, a directory or a GGUF file of a text decoder; None is the embedded model.
    `device` and `dtype` are torch names; auto is CUDA in bfloat16 if there is a GPU, else CPU in
    float32. No code in the directory is run. Raises ModelError naming what was looked for and what
    to do.
    """
    directory = _directory(name)
    name = name or "embedded"
    chosen, number = device_and_dtype(device, dtype)
    weights = []
    try:
        if directory.suffix == ".gguf":
            weights = [directory]
            model, directory = load_gguf(directory, number)
            _settle(model, chosen)
        else:
            model = _load(directory, chosen, number)
        family = make_family(model, directory, sample_fps)
    except (UnsupportedModelError, *_DAMAGED) as error:
        raise ModelError(f"cannot use the model {name}: {error}") from error
    except ImportError as error:  # usually of a package for quantised weights
        reason = " ".join(str(error).split()).rstrip(".")
        raise ModelError(
            f"cannot use the model {name}: it needs what is not here: {reason}. Add that, or take "
            "a checkpoint that is not quantised"
        ) from error
    decoder, scheduler = driven(model)
    return VideoLLM(
        name=name,
        fingerprint=f"{family.name}-{checkpoint_fingerprint(directory, weights)}",
        family=family,
        decoder=decoder,
        sample_fps=sample_fps or family.recommended.sample_fps,
        scheduler=scheduler,
        family_for=lru_cache(_MOST_FAMILIES)(partial(make_family, model, directory)),
    )


def driven(model: "PreTrainedModel") -> tuple[Decoder, Scheduler]:
    """Return the decoder behind the hook and its scheduler, fast on a GPU. Raises ModelError."""
    if model.device.type != "cuda":
        decoder = Decoder(model)
        return decoder, Scheduler(decoder)
    from vstream.engine.cuda.decode_rows import DecodeRows
    from vstream.engine.cuda.flash_kernels import flash_attention
    from vstream.engine.cuda.recorded_questions import RecordedQuestions

    decoder = Decoder(model, flash_attention)
    fast = FastPath(DecodeRows(decoder).decode, RecordedQuestions(decoder).question)
    return decoder, Scheduler(decoder, fast=fast)


def device_and_dtype(device: str, dtype: str) -> tuple[torch.device, torch.dtype]:
    """Resolve the names, see `load_video_llm`. Raises ModelError."""
    is_auto = device == "auto"
    if is_auto:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        if not is_auto:
            torch.ones(1, device=chosen).item()  # "meta" and the like hold no numbers
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"the device {device!r} cannot be used: {reason}") from error
    if dtype == "auto":
        dtype = "bfloat16" if chosen.type == "cuda" else "float32"
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known:
        raise ModelError(f"unknown dtype {dtype!r}: use auto, {', '.join(known)}")
    return chosen, known[dtype]


def _directory(name: str | None) -> Path:
    """Return the directory of the checkpoint, or its GGUF file. Downloads a hub id if need be."""
    if name is None:
        return embedded_weights()
    path = Path(name).expanduser()
    if path.is_dir() or (path.suffix == ".gguf" and path.is_file()):
        return path
    return hub_checkpoint(name)


def _load(directory: Path, device: torch.device, dtype: torch.dtype) -> "PreTrainedModel":
    from huggingface_hub.errors import StrictDataclassError
    from transformers import (  # takes seconds: only to load a model
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
    )
    from transformers.utils import logging as transformers_logging

    if not (shape := directory / "config.json").is_file():
        raise ModelError(f"{directory} is no checkpoint: it has no config.json")
    if (num_bytes := shape.stat().st_size) > _MOST_CONFIG_BYTES:
        raise ModelError(f"{directory} is no checkpoint: its config.json has {num_bytes} bytes")
    if (directory / "adapter_config.json").exists():  # names another place to load from
        raise ModelError(f"{directory} holds an adapter: merge it into its model first")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        require_room(directory, device, dtype)
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        watches = hasattr(config, "vision_config")
        parts = config, config.get_text_config(), getattr(config, "vision_config", None)
        names = "num_hidden_layers", "depth"
        if max(getattr(part, name, 0) for part in parts for name in names) > _MOST_LAYERS:
            raise ModelError(f"{directory} names more than {_MOST_LAYERS:,} layers")
        auto = AutoModelForImageTextToText if watches else AutoModelForCausalLM
        is_packed = getattr(config, "quantization_config", None) is not None
        model: PreTrainedModel = auto.from_pretrained(
            directory,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            device_map={"": device} if is_packed else None,  # packed weights cannot all be moved
        )
        if is_packed:
            _tame_bitsandbytes(model)
    except (StrictDataclassError, *_DAMAGED) as error:
        raise ModelError(f"cannot load the checkpoint in {directory}: {error}") from error
    unread = getattr(model.config, "quantization_config", None)
    if isinstance(unread, dict) and unread:  # still a dict: its weights were read as plain ones
        raise ModelError(
            f"cannot load the checkpoint in {directory}: nothing here reads weights quantised "
            f"as {unread.get('quant_method')}. Take one that is not quantised"
        )
    _settle(model, None if is_packed else device)
    return model


def _settle(model: "PreTrainedModel", device: torch.device | None) -> None:
    """Make it ready to be driven on `device`; None: where it is."""
    if device is not None:
        model.to(device)  # type: ignore[arg-type]
    model.requires_grad_(False).train(mode=False)


def _tame_bitsandbytes(model: "PreTrainedModel") -> None:
    """Keep its log from warning at every product, and its CPU kernel (0.50) from strided rows,
    which it reads as if they were contiguous.
    """
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.register_forward_pre_hook(lambda _, given: (given[0].contiguous(), *given[1:]))
