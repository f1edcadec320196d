"""stream_range_of: `from` and `to` as a caller writes them in, stream time out."""

from datetime import datetime
from zoneinfo import ZoneInfo

from app.server.service import Service
from app.server.stream_url import TimeRange
from vstream.service.errors import UnknownStreamError
from vstream.wall_time import stream_range
from vstream.when import parse_when


def stream_range_of(
    service: Service, stream_id: str, span: TimeRange
) -> tuple[float | None, float | None]:
    """The range in stream time; a bound that is None is open.

    Clock times are turned into stream time by when the stream's blocks were captured. Raises
    QuestionError for a time that is none, UnknownStreamError.
    """
    from_s, to_s = span.from_s, span.to_s
    if span.from_ is None and span.to is None:
        return from_s, to_s
    now = datetime.now(zone_of(service, stream_id))
    begin, end = parse_when(span.from_, now), parse_when(span.to, now)
    with service.live.streams.asked(stream_id) as asked, service.live.model.turn:
        first_s, last_s = stream_range(
            asked.memory,
            None if begin is None else begin.timestamp(),
            None if end is None else end.timestamp(),
        )
    if begin is not None:
        from_s = first_s if from_s is None else max(from_s, first_s)
    if end is not None:
        to_s = last_s if to_s is None else min(to_s, last_s)
    return from_s, to_s


def zone_of(service: Service, stream_id: str) -> ZoneInfo:
    """The zone of a stream's times in words: its own, or the service's."""
    try:
        name = service.live.streams.get(stream_id).spec.timezone
    except UnknownStreamError:
        name = None
    return ZoneInfo(name or service.settings.service.timezone)
