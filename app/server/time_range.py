"""stream_range_of: `from` and `to` as a caller writes them in, stream time out."""

import math
from datetime import datetime
from zoneinfo import ZoneInfo

from app.server.service import Service
from app.server.stream_url import TimeRange
from vstream.service.errors import UnknownStreamError
from vstream.times.wall_time import stream_range, stream_time_since
from vstream.times.when import parse_when


def stream_range_of(
    service: Service, stream_id: str, span: TimeRange, *, with_unencoded: bool = False
) -> tuple[float | None, float | None]:
    """The range in stream time; a bound that is None is open.

    Clock times are turned into stream time by when the stream's blocks were captured. With frames
    that are not encoded (yet), a bound after the newest block is as far behind it. Raises
    QuestionError for a time that is none, UnknownStreamError.
    """
    from_s, to_s = span.from_s, span.to_s
    if span.from_ is None and span.to is None:
        return from_s, to_s
    now = datetime.now(zone_of(service, stream_id))
    begin, end = parse_when(span.from_, now), parse_when(span.to, now)
    begin_at, end_at = (None if one is None else one.timestamp() for one in (begin, end))
    with service.loaded.streams.askable(stream_id) as stream, service.loaded.model.turn:
        first_s, last_s = stream_range(stream.memory, begin_at, end_at)
        if with_unencoded and end_at is not None:
            last_s = stream_time_since(stream.memory, end_at) or last_s
        if with_unencoded and begin_at is not None and math.isinf(first_s):
            first_s = stream_time_since(stream.memory, begin_at) or first_s
    if begin is not None:
        from_s = first_s if from_s is None else max(from_s, first_s)
    if end is not None:
        to_s = last_s if to_s is None else min(to_s, last_s)
    return from_s, to_s


def zone_of(service: Service, stream_id: str) -> ZoneInfo:
    """The zone of a stream's times in words: its own, or the service's."""
    try:
        name = service.loaded.streams.get(stream_id).spec.timezone
    except UnknownStreamError:
        name = None
    return ZoneInfo(name or service.settings.service.timezone)
