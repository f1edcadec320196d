"""The bundled sample stream: a video, and a script of what it shows, with questions."""

from pathlib import Path

_ASSETS = Path(__file__).parent / "assets"
SAMPLE_VIDEO = _ASSETS / "sample_stream.mp4"
SAMPLE_SCRIPT = _ASSETS / "sample_stream.json"
