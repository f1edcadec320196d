"""PreprocessorConfig: how a checkpoint wants its frames, read from the checkpoint's own files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.errors import UnsupportedModelError

_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_NESTED_FILE = "processor_config.json"
_NESTED_KEYS = ("video_processor", "image_processor")


@dataclass(frozen=True)
class PreprocessorConfig:
    """Names as in transformers' processors. `resample` is Pillow's number. `size` has "height" and
    "width", or "shortest_edge" and/or "longest_edge"; the family defines what an edge means (pixels
    of a side, of a picture, or of a video).
    """

    path: Path
    resample: int
    rescale_factor: float
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    size: Mapping[str, int]
    max_image_size: Mapping[str, int]

    @classmethod
    def read(cls, directory: Path) -> "PreprocessorConfig":
        """Read the video settings if the checkpoint has them, else the image settings. Raises
        UnsupportedModelError naming the files it looked for, or the missing key.
        """
        path, values = _find(directory)
        try:
            return cls(
                path=path,
                resample=int(values["resample"]),
                rescale_factor=float(values.get("rescale_factor", 1 / 255)),
                image_mean=tuple(values["image_mean"]),
                image_std=tuple(values["image_std"]),
                size=_size(values),
                max_image_size=values.get("max_image_size") or {},
            )
        except KeyError as error:
            raise UnsupportedModelError(
                f"{path} has no {error}: frames cannot be prepared"
            ) from error

    def edge(self, name: str) -> int:
        """Return one entry of `size`. Raises UnsupportedModelError if the checkpoint lacks it."""
        if name not in self.size:
            raise UnsupportedModelError(f"{self.path}: wanted a size with {name}, got {self.size}")
        return self.size[name]


def _find(directory: Path) -> tuple[Path, Mapping[str, Any]]:
    for name in _FILES:
        if (directory / name).is_file():
            return directory / name, json.loads((directory / name).read_text("utf-8"))
    nested = directory / _NESTED_FILE
    if nested.is_file():
        values = json.loads(nested.read_text("utf-8"))
        for key in _NESTED_KEYS:
            if key in values:
                return nested, values[key]
    raise UnsupportedModelError(
        f"{directory} does not say how to prepare frames: it has none of "
        f"{', '.join((*_FILES, _NESTED_FILE))}"
    )


def _size(values: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the size for video; older files keep it elsewhere, or as a number of pixels."""
    if "video_sampling" in values:
        size: Mapping[str, int] = values["video_sampling"]["video_size"]
        return size
    if "min_pixels" in values and "max_pixels" in values:
        return {"shortest_edge": values["min_pixels"], "longest_edge": values["max_pixels"]}
    size = values["size"]
    return {key: value for key, value in size.items() if value is not None}
