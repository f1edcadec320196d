"""StillPicture: decodes one upright picture from untrusted bytes, or raises an error.

Size, kind and number of scans are checked before anything is decoded: a few bytes can ask for
gigabytes of pixels, or for hours of work as thousands of scans over the same picture.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.ExifTags import Base

from vstream.errors import SourceError
from vstream.sources.rgb_scaler import scaled_size

MAX_BYTES = 8 << 20
"""The limit for a pushed frame."""
_MAX_SCANS = 64  # encoders make about ten
_START_OF_SCAN = b"\xff\xda"  # cannot occur in coded data

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class StillPicture:
    """One picture whose header has been read and found acceptable."""

    def __init__(
        self,
        data: bytes,
        name: str,
        max_pixels: int,
        *,
        formats: tuple[str, ...] = ("JPEG",),
        max_bytes: int = MAX_BYTES,
        bound: str = "source.max_pixels",
    ) -> None:
        """`name` is the stream's, `formats` are Pillow's names, `bound` is the setting that
        `max_pixels` comes from. Raises SourceError (FRAME_INVALID).
        """
        self._name = name
        if len(data) > max_bytes:
            raise self._invalid(f"{len(data)} bytes are too many; send at most {max_bytes}")
        try:
            self._image: Image.Image = Image.open(io.BytesIO(data), formats=formats)
        except Exception as error:  # noqa: BLE001  a parser on hostile bytes raises anything
            kind = " or ".join(formats)
            why = f"it is no {kind}; send one picture as {kind} ({error})"
            raise self._invalid(why) from None
        if self._image.format == "JPEG" and data.count(_START_OF_SCAN) > _MAX_SCANS:
            raise self._invalid(f"it has more than {_MAX_SCANS} scans; send a plain JPEG")
        width, height = self._image.size
        if width * height > max_pixels:
            raise self._invalid(
                f"{width} x {height} are more than {max_pixels} pixels; scale it down, or raise "
                f"{bound}"
            )

    def pixels(self, max_side: int | None) -> UInt8[np.ndarray, "height width 3"]:
        """Return RGB, turned as EXIF asks, at a half, quarter or eighth if that still has
        `max_side`. Raises SourceError (FRAME_INVALID) if the data is damaged or cut short.
        """
        image = self._image
        try:
            turn = _TURNS.get(_orientation(image))
            image.draft("RGB", scaled_size(*image.size, max_side))
            upright = image.convert("RGB")
        except Exception as error:  # noqa: BLE001
            raise self._invalid(f"it is damaged or cut short; send it whole ({error})") from None
        return np.asarray(upright if turn is None else upright.transpose(turn))

    def _invalid(self, reason: str) -> SourceError:
        return SourceError(f"{self._name}: reading the picture: {reason}", "FRAME_INVALID")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(Base.Orientation, 1))
    except Exception:  # noqa: BLE001  a picture with a broken tag is still a picture
        return 1
