"""write_memory_report: one page with tables and curves from what is on record."""

import importlib.util
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eval.memory_benchmark.figures import (
    ONE_MOMENT,
    Document,
    MemoryFigures,
    is_past,
    mean_of,
    of_age,
    of_kind,
)
from eval.memory_benchmark.play import PARTS
from eval.result_table import NOTHING, ResultTable
from eval.run.paired import Paired
from eval.run.plots import GRID, STYLE, panels, svg_of
from eval.run.report import write_report
from eval.run.scored import AGES_S, write_scored
from eval.stream_benchmark.exam import ExamStream
from eval.stream_benchmark.figures import RECALLED_KINDS
from eval.stream_benchmark.record import Record, record_of

_MB = 1e6
Cell = Callable[[MemoryFigures], str]


def write_memory_report(
    path: Path,
    exam: Sequence[ExamStream],
    kept: Sequence[Document],
    said: Sequence[Document],
    tower_ms: Sequence[float],
) -> dict[str, Any]:
    """Return each contender's figures; `kept` has the reference first, `tower_ms` is per frame."""
    found = figures_of(exam, kept, said)
    write_scored(path, [one.scored for each in found for one in each.records])
    has_plots = importlib.util.find_spec("matplotlib") is not None
    tables = [_costs(found, tower_ms), _by_age(found), _recall(found), _layers(found)]
    tables += [_recall(found, ONE_MOMENT), _kinds(found)]
    write_report(path, more=tables, curves=curves(found) if has_plots else {})
    return {one.name: one.document() for one in found}


def figures_of(
    exam: Sequence[ExamStream], kept: Sequence[Document], said: Sequence[Document]
) -> list[MemoryFigures]:
    """Return figures of every contender over the streams it has watched, the reference first."""
    streams, found = {stream.name: stream for stream in exam}, list[MemoryFigures]()
    for name in dict.fromkeys(one["contender"] for one in kept):
        own = [one for one in kept if one["contender"] == name and one["stream"] in streams]
        watched = {one["stream"] for one in own}
        answers = [one for one in said if one["contender"] == name and one["stream"] in watched]
        records = [
            record_of(name, streams[one["stream"]], one["number"], one["text"], one)
            for one in answers
        ]
        before = found[0].before if found else {one.scored.question_id: one for one in records}
        if records:
            found.append(MemoryFigures(name, own, answers, records, before))
    return found


def _table(
    title: str, found: Sequence[MemoryFigures], columns: Mapping[str, Cell], *notes: str
) -> ResultTable:
    rows = {one.name: {name: cell(one) for name, cell in columns.items()} for one in found}
    return ResultTable.of(title, rows, *notes, corner="contender")


def _costs(found: Sequence[MemoryFigures], tower_ms: Sequence[float]) -> ResultTable:
    columns: dict[str, Cell] = {
        "MB an hour": lambda one: f"{one.grows / _MB:.2f}",
        "of bf16": lambda one: _share(one.grows, one.raw),
        "in all, MB": lambda one: f"{one.in_all / _MB:.2f}",
        "of bf16 in all": lambda one: _share(one.in_all, one.raw),
        **{part: partial(_part, part) for part in PARTS},
        "KL": lambda one: f"{one.kl[0]:.3f} / {one.kl[1]:.4f}",
        "same first token": lambda one: f"{100 * one.kl[2]:.1f}",
        "past": lambda one: _percent(one.compared(is_past)),
        "past, difference": lambda one: _difference(one.compared(is_past)),
        "McNemar": lambda one: _p(one.compared(is_past)),
        "all": lambda one: _percent(one.compared(lambda record: True)),
        "all, difference": lambda one: _difference(one.compared(lambda record: True)),
        "CPU, ms a frame": lambda one: f"{one.ingest_cpu_ms:.2f}",
        "CPU, ms a question": lambda one: f"{one.question_cpu_ms:.0f}",
        "tokens read": lambda one: f"{one.context_tokens:.0f}",
    }
    tower = f", which took {statistics.fmean(tower_ms):.1f} ms a frame" if tower_ms else ""
    return _table(
        "What is kept, and what answers lose by it",
        found,
        columns,
        "the first row is everything kept as it was made; the others are paired with it",
        "MB an hour: what the second half of the streams has added, by the store's own count, "
        "pictures left out, and its parts; of bf16: of all keys and values as bf16. In all: "
        "with what is kept whatever the length, such as whole blocks of the windows",
        "KL: of the first answer token to that of the first row, in nats, mean / median; same "
        "first token, past and all: percent of the questions",
        "differences: in points, with 95 of 100 draws of whole streams (bootstrap); McNemar: "
        "p of its exact test on questions about the past",
        f"CPU: processor time, contenders in turn; the vision tower{tower} and pictures are "
        "left out; of a question the median",
    )


def _by_age(found: Sequence[MemoryFigures]) -> ResultTable:
    columns: dict[str, Cell] = {}
    for age in AGES_S:
        compared = [one.compared(of_age(age)) for one in found]
        if any(compared):
            count = compared[0].num_questions if compared[0] else 0
            columns[f"{age}: {count}"] = partial(_right_of_age, age)
    return _table("Percent right by age of the evidence (difference)", found, columns)


def _right_of_age(age: str, one: MemoryFigures) -> str:
    compared = one.compared(of_age(age))
    return f"{_percent(compared)} ({_difference(compared)})"


def _recall(found: Sequence[MemoryFigures], kinds: Sequence[str] = RECALLED_KINDS) -> ResultTable:
    which = "" if kinds is RECALLED_KINDS else f", {', '.join(kinds)}"
    return _table(
        f"Recall of the evidence by its age{which}",
        found,
        {age: partial(_recalled, of_age(age, kinds)) for age in AGES_S},
        "the share of the stretches that show the answer of which a block was read, mean over "
        "layers",
    )


def _layers(found: Sequence[MemoryFigures]) -> ResultTable:
    rows = {
        one.name: {
            f"layer {number}": f"{share:.2f}"
            for number, share in enumerate(one.recall(lambda record: True) or ())
        }
        for one in found
    }
    return ResultTable.of("Recall of the evidence by layer", rows, corner="contender")


def _kinds(found: Sequence[MemoryFigures]) -> ResultTable:
    columns = {kind: partial(_recalled, of_kind(kind)) for kind in RECALLED_KINDS}
    return _table("Recall of the evidence by kind of question", found, columns)


def _recalled(wants: Callable[[Record], bool], one: MemoryFigures) -> str:
    recall = mean_of(one.recall(wants))
    return NOTHING if recall is None else f"{recall:.2f}"


def _part(part: str, one: MemoryFigures) -> str:
    return f"{one.bytes_per_hour[part] / _MB:.2f}"


def _share(num_bytes: float, raw: float) -> str:
    return f"1/{raw / num_bytes:.1f}" if num_bytes > 0 else NOTHING


def _percent(found: Paired | None) -> str:
    return NOTHING if found is None else f"{found.after_percent:.1f}"


def _difference(found: Paired | None) -> str:
    if found is None:
        return NOTHING
    within = "" if found.interval is None else " [{:+.1f}, {:+.1f}]".format(*found.interval)
    return f"{found.difference:+.1f}{within}"


def _p(found: Paired | None) -> str:
    return NOTHING if found is None or found.mcnemar_p is None else f"{found.mcnemar_p:.2f}"


def curves(found: Sequence[MemoryFigures]) -> dict[str, bytes]:
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
