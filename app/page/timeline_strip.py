"""Timeline strip: a stream's history, citations and firings in, one SVG of all of it out."""

from collections.abc import Sequence

from app.page.words import clock
from app.server.documents import Citation
from app.server.timeline_routes import Timeline

_WIDTH, _HEIGHT = 1000, 110
_BASE = 84
_TALLEST = 60


def timeline_strip(
    told: Timeline | None,
    cited: Sequence[Citation] = (),
    fired_s: Sequence[float] = (),
    asked: tuple[float, float] | None = None,
) -> str:
    """What is kept as a band, changes of the picture as ticks in it, what the last answer retrieved
    as bars whose height is the score, watches that fired as diamonds; `asked` is a shaded range.
    """
    if told is None or not told.parts:
        return '<div class="timeline empty">The history will be drawn here.</div>'
    span_s = max(told.to_s - told.from_s, 1e-3)

    def x(stream_s: float) -> float:
        return _WIDTH * min(1.0, max(0.0, (stream_s - told.from_s) / span_s))

    drawn = []
    if asked is not None:
        left, width = x(asked[0]), x(asked[1]) - x(asked[0])
        drawn.append(
            f'<rect class="asked" x="{left:.1f}" width="{width:.1f}" y="0" height="{_BASE + 12}"/>'
        )
    for part in told.parts:
        left, width = x(part.from_s), max(1.0, x(part.to_s) - x(part.from_s))
        drawn.append(
            f'<rect class="kept" x="{left:.1f}" width="{width:.1f}" y="{_BASE}" height="12"/>'
        )
        if part.change > 0.25:
            drawn.append(
                f'<line class="change" x1="{x(part.change_s):.1f}" x2="{x(part.change_s):.1f}" '
                f'y1="{_BASE}" y2="{_BASE + 12}"><title>the picture changes at '
                f"{clock(part.change_s)}</title></line>"
            )
    best = max((abs(one.score) for one in cited), default=1.0) or 1.0
    for one in cited:
        height = _TALLEST * max(0.04, one.score / best)
        drawn.append(
            f'<rect class="cited" x="{x(one.end_s) - 2:.1f}" width="4" '
            f'y="{_BASE - height:.1f}" height="{height:.1f}"><title>{clock(one.end_s)}, score '
            f"{one.score:.2f}</title></rect>"
        )
    for at_s in fired_s:
        if told.from_s <= at_s <= told.to_s:
            drawn.append(
                f'<path class="fired" d="M{x(at_s):.1f} 2 l6 8 l-6 8 l-6 -8 z"><title>a watch '
                f"fired at {clock(at_s)}</title></path>"
            )
    ends = (
        f'<text x="0" y="{_HEIGHT}">{clock(told.from_s)}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT}" text-anchor="end">{clock(told.to_s)}</text>'
    )
    return (
        f'<svg class="timeline" viewBox="0 0 {_WIDTH} {_HEIGHT + 2}" role="img" '
        f'aria-label="history of the stream">{"".join(drawn)}{ends}</svg>'
    )
