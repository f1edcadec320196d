"""Stream time as people write it: 83, 1:23 or 0:01:23 in, seconds out, and back."""

import re

from vstream.errors import SettingsError

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_CLOCK = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-5]?[0-9](?:\.[0-9]+)?)")


def parse_stream_time(text: str) -> float:
    """Seconds since the stream's start. Raises SettingsError for anything else."""
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise SettingsError(f"{text!r} is no time: write seconds, m:ss or h:mm:ss, as 1:23")
    hours, minutes, seconds = match.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def clock(seconds: float) -> str:
    """m:ss, or h:mm:ss from the first hour on."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
