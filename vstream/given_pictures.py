"""given_pictures: turn arrays, tensors and PIL pictures into Frames with times."""

import time
from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from encoders import Frame
from vstream.errors import SourceError

Picture = Frame | Image.Image | np.ndarray | Tensor


def as_frames(pictures: Picture | Iterable[Picture], at_s: float, step_s: float) -> list[Frame]:
    """Return one picture or several as Frames, in order. A Frame stays as it is. Any other picture
    is captured now, at a stream time `step_s` after the one before it; the first is at `at_s`.

    A picture is a PIL picture, turned as its EXIF asks; an array [height, width, 3]; or a tensor
    [height, width, 3] or [3, height, width]. Arrays and tensors hold RGB in uint8 and are copied.
    Raises SourceError (FRAME_INVALID) for anything else.
    """
    several: Iterable[object] = [pictures]
    if isinstance(pictures, Iterable) and getattr(pictures, "ndim", 4) > 3:
        several = pictures
    found, now = list[Frame](), time.time()
    for one in several:
        try:
            frame = one if isinstance(one, Frame) else Frame(_pixels(one), at_s, now)
        except ValueError as error:
            raise SourceError(f"push: picture {len(found)}: {error}", "FRAME_INVALID") from None
        found.append(frame)
        at_s = frame.stream_s + step_s
    return found


def _pixels(picture: object) -> UInt8[np.ndarray, "height width 3"]:
    """Raises ValueError."""
    if isinstance(picture, Image.Image):
        if picture.mode[0] in "IF":
            raise ValueError(f"its mode is {picture.mode!r}; make it 'RGB' or 'L' of 8 bits first")
        return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    if not isinstance(picture, np.ndarray | Tensor):
        kinds = "a Frame, a PIL picture, an array or a tensor"
        raise ValueError(f"it is of type {type(picture).__name__}; give {kinds}")
    shape = tuple(picture.shape)
    if str(picture.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(f"its values are {picture.dtype}; give uint8 from 0 to 255")
    pixels = picture.cpu().numpy() if isinstance(picture, Tensor) else picture
    if isinstance(picture, Tensor) and len(shape) == 3 and shape[0] == 3:
        if shape[2] == 3:
            raise ValueError(f"shape {shape} may be [height, width, 3] or [3, height, width]")
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in shape:
        wanted = "[height, width, 3], of a tensor also [3, height, width]"
        raise ValueError(f"its shape is {shape}; give RGB as {wanted}")
    return np.array(pixels, order="C")
