"""Checkpoint: stores a training run's state in small files, and the weights for use.

A state must travel in few, small pieces: weights are stored in half precision and AdamW's moments
in eight bits, about 40 MB for the embedded model, in shards of at most `SHARD_BYTES`. That rounds a
little. So a run passes through `condensed` and `restore` each time it saves, whether or not it
stops there: interrupted and uninterrupted runs stay the same.
"""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import SmolVLMForConditionalGeneration

from eval.training.presets import TrainedShape, fresh_model
from vstream.models.weights import embedded_weights

SHARD_BYTES = 14_900_000
PREPROCESSOR = "preprocessor_config.json"
COPIED = (
    *("chat_template.jinja", "generation_config.json"),
    *("tokenizer.json", "tokenizer_config.json"),
)
_SHARD = re.compile(r"state-(\d+)-(\d+)-of-(\d+)\.safetensors")
_FEW_BITS = {"exp_avg": torch.float8_e4m3fn, "exp_avg_sq": torch.float8_e5m2}
"""The second moment's square root needs range more than digits, or it would become zero."""


def condensed(
    step: int, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    state = {"step": torch.tensor(step)}
    for name, module in modules.items():
        for key, parameter in module.named_parameters():  # tied ones once
            state[f"{name}.{key}"] = parameter.detach().half()
    for number, parameter in enumerate(_parameters(optimizer)):
        for moment, dtype in _FEW_BITS.items():
            value = optimizer.state.get(parameter, {}).get(moment)
            if value is not None:
                value = value.sqrt() if moment == "exp_avg_sq" else value
                scale = value.abs().max().clamp(min=1e-30) / 256
                value = value / scale
                if dtype is torch.float8_e5m2:  # a divisor must stay positive
                    value = value.clamp(min=torch.finfo(dtype).tiny)
                state[f"{moment}.{number}"] = value.to(dtype)
                state[f"{moment}_scale.{number}"] = scale
    return state


def restore_modules(state: dict[str, Tensor], modules: dict[str, nn.Module]) -> None:
    """Restore the parameters of these modules. Raises ValueError for those of others."""
    for name, module in modules.items():
        prefix = f"{name}."
        own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if set(own) != {key for key, _ in module.named_parameters()}:
            raise ValueError(f"the state is of another {name}: start in another folder")
        module.load_state_dict(own, strict=False)  # it lacks the names of tied ones


def restore(
    state: dict[str, Tensor], modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer
) -> int:
    """Restore a state and return its step. Raises ValueError for the state of other modules."""
    restore_modules(state, modules)
    for number, parameter in enumerate(_parameters(optimizer)):
        if f"exp_avg.{number}" not in state:
            optimizer.state.pop(parameter, None)
            continue
        mean, spread = (
            state[f"{moment}.{number}"].float() * state[f"{moment}_scale.{number}"]
            for moment in _FEW_BITS
        )
        optimizer.state[parameter] = {
            "step": torch.tensor(1e6),  # long past AdamW's bias correction
            "exp_avg": mean.to(parameter),
            "exp_avg_sq": spread.square().to(parameter),
        }
    return int(state["step"])


def write_state(folder: Path, state: dict[str, Tensor]) -> None:
    """Write a state beside the last one, then remove the last one."""
    folder.mkdir(parents=True, exist_ok=True)
    old = [path for paths in _shards(folder).values() for path in paths]
    shards: list[dict[str, Tensor]] = [{}]
    for name, value in state.items():
        if sum(tensor.nbytes for tensor in shards[-1].values()) + value.nbytes > SHARD_BYTES:
            shards.append({})
        shards[-1][name] = value.contiguous()
    step = int(state["step"])
    for number, shard in enumerate(shards, start=1):
        name = f"state-{step:06d}-{number}-of-{len(shards)}.safetensors"
        save_file(shard, folder / f"{name}.partial")
        (folder / f"{name}.partial").replace(folder / name)
    for path in old:
        if not path.name.startswith(f"state-{step:06d}-"):
            path.unlink()


def read_state(folder: Path, device: str) -> dict[str, Tensor] | None:
    """Return the newest completely written state; None if there is none."""
    for _, paths in sorted(_shards(folder).items(), reverse=True):
        count = int(_SHARD.fullmatch(paths[0].name).group(3))  # type: ignore[union-attr]
        if len(paths) == count:
            return {k: v for path in paths for k, v in load_file(path, device=device).items()}
    return None


def save_weights(folder: Path, model: SmolVLMForConditionalGeneration, shape: TrainedShape) -> None:
    """Write the model in half precision, as the engine loads it."""
    half = fresh_model(shape, model.lm_head.out_features)
    half.load_state_dict(model.state_dict())
    nn.Module.to(half, torch.float16)
    half.save_pretrained(folder, max_shard_size=SHARD_BYTES)
    for name in COPIED:
        shutil.copyfile(embedded_weights() / name, folder / name)
    settings = json.loads((embedded_weights() / PREPROCESSOR).read_text(encoding="utf-8"))
    settings["size"] = {"height": shape.image_px, "width": shape.image_px}
    (folder / PREPROCESSOR).write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _shards(folder: Path) -> dict[int, list[Path]]:
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.glob("state-*.safetensors")):
        if match := _SHARD.fullmatch(path.name):
            found.setdefault(int(match.group(1)), []).append(path)
    return found


def _parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
