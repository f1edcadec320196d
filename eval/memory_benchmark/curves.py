"""curves draws figures of memories as SVG; it needs matplotlib (extra `bench`)."""

from collections.abc import Callable, Sequence

from eval.memory_benchmark.figures import MemoryFigures, is_past, mean_of, of_age
from eval.run.plots import GRID, STYLE, panels, svg_of
from eval.run.scored import AGES_S

_MB = 1e6


def curves(found: Sequence[MemoryFigures]) -> dict[str, bytes]:
    """By title."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        return {
            "Bytes against what answers lose": _bytes(found),
            "Recall and accuracy by age of the evidence": _ages(found),
        }


def _bytes(found: Sequence[MemoryFigures]) -> bytes:
    figure, axes = panels(11, 4.4, 2, is_shared=False)
    for number, one in enumerate(found):
        past, at = one.compared(is_past), one.grows / _MB
        if past is None or at <= 0:
            continue
        color = f"C{number % 10}"
        low, high = past.interval or (past.difference, past.difference)
        reach = [[past.difference - low], [high - past.difference]]
        dot = {"fmt": "o", "capsize": 2.5, "color": color, "label": one.name}
        axes[0].errorbar(at, past.difference, yerr=reach, **dot)
        axes[1].plot(at, max(one.kl[0], 1e-6), "o", color=color)
    axes[0].set_ylabel("questions about the past: points more right than\neverything kept")
    axes[1].set_ylabel("KL of the first token, mean, nats")
    axes[1].set_yscale("log")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlabel("MB an hour, pictures left out")
        axis.grid(color=GRID)
    axes[0].axhline(0, color=GRID)
    figure.legend(loc="outside right upper", fontsize=8)
    return svg_of(figure)


def _ages(found: Sequence[MemoryFigures]) -> bytes:
    figure, axes = panels(11, 4.0, 2, is_shared=False)

    def accuracy(one: MemoryFigures, age: str) -> float | None:
        past = one.compared(of_age(age))
        return None if past is None else past.after_percent

    drawn: dict[str, Callable[[MemoryFigures, str], float | None]] = {
        "recall, mean over layers": lambda one, age: mean_of(one.recall(of_age(age))),
        "percent right": accuracy,
    }
    for axis, (title, value) in zip(axes, drawn.items(), strict=True):
        for one in found:
            points = [(age, y) for age in AGES_S if (y := value(one, age)) is not None]
            axis.plot(*zip(*points, strict=True), "o-", markersize=4)
        axis.set_ylabel(title)
        axis.set_ylim(bottom=0)
        axis.grid(color=GRID)
    figure.legend([one.name for one in found], loc="outside right upper", fontsize=8)
    return svg_of(figure)
