"""plots: draws summaries of policies as SVG; needs matplotlib (extra `bench`).

One colour marks the product's policy; positions and labels identify the others.
"""

import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from eval.run.summary import ByPolicy, PolicySummary, by_age, by_part

MARKED = "default"
_MARKED_COLOR, _COLOR, GRID = "#0b5cad", "#59636e", "#d9dee3"
_ROW_INCH, _PANEL_INCH = 0.3, 2.3
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.edgecolor": "#8c959f",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "svg.hashsalt": "vstream",  # the same figures, the same bytes
}
_DOT: dict[str, Any] = {"fmt": "o", "markersize": 5, "capsize": 2.5}
_BOX: dict[str, Any] = {"orientation": "horizontal", "widths": 0.55, "whis": (5, 95)}
_BOX |= {"showfliers": False, "manage_ticks": False}


def plots(summaries: Sequence[PolicySummary]) -> dict[str, bytes]:
    """Return figures by title, in order, omitting those without anything to show."""
    from matplotlib import rc_context

    ages = by_age(summaries)
    with rc_context(STYLE):
        drawn = {
            "Accuracy by part of the benchmark": _accuracies(summaries, by_part(summaries)),
            "Accuracy by age of the evidence": _accuracies(summaries, ages) if ages else None,
            "Memory against accuracy": _memory(summaries),
            "Time to the first token": _latencies(summaries),
        }
    return {title: svg for title, svg in drawn.items() if svg is not None}


def _accuracies(summaries: Sequence[PolicySummary], panels: Mapping[str, ByPolicy]) -> bytes:
    """Draw one panel per group of questions, one row per policy: mean and standard error."""
    figure, axes = _figure(summaries, len(panels))
    for axis, (title, estimates) in zip(axes, panels.items(), strict=True):
        for row, summary in enumerate(summaries):
            if found := estimates.get(summary.policy):
                color = _color(summary.policy)
                axis.errorbar(found.mean, row, xerr=found.stderr, color=color, **_DOT)
        counts = sorted({found.num_questions for found in estimates.values()})
        asked = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        axis.set_title(f"{title}\n{asked} questions")
        axis.set_xlim(-3, 103)
        axis.set_xticks([0, 25, 50, 75, 100])
    figure.supxlabel("percent right (bars: ± one standard error, clustered by video)", size=10)
    return svg_of(figure)


def _memory(summaries: Sequence[PolicySummary]) -> bytes | None:
    """Include only policies that keep something of the video."""
    kept = [summary for summary in summaries if summary.bytes_per_hour is not None]
    if not kept:
        return None
    figure, (axis,) = panels(8.4, 4.6)
    for number, one in enumerate(kept):
        mb = ((one.bytes_per_hour or 0) + (one.fixed_bytes or 0)) / 1e6
        dot = {**_DOT, "color": f"C{number % 10}", "label": _wrapped(one.policy)}
        axis.errorbar(mb, one.accuracy.mean, one.accuracy.stderr, **dot)
    axis.set_ylim(0, 100)
    axis.set_xlim(left=0)
    axis.set_xlabel(
        "MB that have to be kept of one hour of video, a fixed window included\n"
        "(policies that keep nothing of it are not shown)"
    )
    axis.set_ylabel("percent right, all questions")
    axis.grid(color=GRID)
    figure.legend(loc="outside right upper", fontsize=8)
    return svg_of(figure)


def _wrapped(name: str) -> str:
    return textwrap.fill(name.replace("+", " +"), 20).replace(" +", "+")


def _latencies(summaries: Sequence[PolicySummary]) -> bytes | None:
    """Draw one box per policy; whiskers are the 5th and the 95th percentile."""
    from matplotlib.ticker import LogLocator, NullLocator

    timed = [summary for summary in summaries if summary.latency is not None]
    if not timed:
        return None
    figure, (axis,) = _figure(timed, 1, panel_inch=7.0)
    for row, summary in enumerate(timed):
        assert summary.latency is not None
        color = _color(summary.policy)
        lines = {f"{part}props": {"color": color} for part in ("box", "whisker", "cap")}
        median = {"color": color, "linewidth": 2.5}
        axis.boxplot([summary.latency.all_ms], positions=[row], medianprops=median, **lines, **_BOX)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(
        "milliseconds from the question to the first token, logarithmic\n"
        "(line: median, box: quartiles, whiskers: 5th and 95th percentile)"
    )
    return svg_of(figure)


def _figure(
    summaries: Sequence[PolicySummary], num_panels: int, panel_inch: float = _PANEL_INCH
) -> tuple[Any, Sequence[Any]]:
    names = [_wrapped(one.policy) for one in summaries]
    lines = max(name.count("\n") + 1 for name in names)
    width, height = 1.2 + panel_inch * num_panels, 1.3 + _ROW_INCH * lines * len(summaries)
    figure, axes = panels(width, height, num_panels)
    axes[0].set_ylim(len(summaries) - 0.5, -0.5)
    axes[0].set_yticks(range(len(summaries)), names)
    for label, summary in zip(axes[0].get_yticklabels(), summaries, strict=True):
        label.set_color(_color(summary.policy))
    for axis in axes:
        axis.grid(axis="x", color=GRID)
        axis.set_axisbelow(True)
        axis.tick_params(axis="y", length=0)
    return figure, axes


def panels(
    width: float, height: float, num_panels: int = 1, *, is_shared: bool = True
) -> tuple[Any, Sequence[Any]]:
    """Return a figure of that size in inches and its axes side by side, which may share y."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, num_panels, sharey=is_shared, squeeze=False)[0]


def svg_of(figure: Any) -> bytes:
    """Return the same bytes for the same figure."""
    written = BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _color(policy: str) -> str:
    return _MARKED_COLOR if policy == MARKED else _COLOR
