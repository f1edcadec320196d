"""`python -m eval recap` recaps several made-up streams together: what came and what left.

A reported change is right if the script has the same change of the same thing in the same stream
within `TOLERANCE_S`; each counts once. Recall counts the script's changes, precision the reported
ones. Colours and numbers do not count.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, NamedTuple

import typer

from eval.command_line import AsJson
from eval.result_table import ResultTable, show, show_document
from eval.speed.past import show_script, world_model, world_scripts
from eval.stream_world import Script, Statement, truth_spans
from eval.stream_world.seeds import FIND
from eval.stream_world.vocabulary import with_article
from vstream import Recap, load_config, open_session
from vstream.search.recap import EFFORTS

TOLERANCE_S = 2.0


class Change(NamedTuple):
    stream: str
    thing: str
    came: bool
    at_s: float


def recap(
    seed: Annotated[int, typer.Option(min=0, max=1 << 20, help="Which streams.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=16, help="How many.")] = 3,
    minutes: Annotated[float, typer.Option(min=1, help="Length of each.")] = 15,
    effort: Annotated[str, typer.Option(help="quick, default or thorough.")] = "default",
    as_json: AsJson = False,
) -> None:
    """How well `recap` tells what came and left in made-up streams."""
    config = load_config()
    model = world_model(config)
    drawn = world_scripts(FIND, seed, streams, minutes)
    scripts = {f"camera-{number}": script for number, script in enumerate(drawn)}
    with ExitStack() as opened:
        sessions = {one: opened.enter_context(open_session(config, model, one)) for one in scripts}
        for name, session in sessions.items():
            show_script(session, scripts[name])
        began = time.process_time()
        told = Recap(sessions, effort=replace(EFFORTS[effort], milliseconds=None))
        for _ in told:
            pass
        cpu_s = time.process_time() - began
    true, said = changes_of(scripts), told_by(told)
    rows = {"all": figures(true, said)}
    for name, came in (("arrivals", True), ("departures", False)):
        rows[name] = figures(*({one for one in all_ if one.came == came} for all_ in (true, said)))
    cost = {
        "described": told.described,
        "judged": told.judged,
        "dropped": told.dropped,
        "cpu seconds": round(cpu_s, 1),
    }
    costs = ResultTable("What it cost", tuple(cost), (tuple(map(str, cost.values())),))
    show([ResultTable.of("What came and left", rows), costs])
    if as_json:
        show_document({**rows, "cost": cost})


def changes_of(scripts: Mapping[str, Script]) -> set[Change]:
    """Return all changes in the scripts, except what is there when a stream begins or ends."""
    return {
        Change(stream, with_article(name), came, float(span.start_s if came else span.end_s + 1))
        for stream, script in scripts.items()
        for name in script.names
        for span in truth_spans(script, Statement(name))
        for came in (True, False)
        if (
            span.start_s > script.moments[0].time_s
            if came
            else span.end_s < script.moments[-1].time_s
        )
    }


def told_by(recap: Recap) -> set[Change]:
    return {
        Change(one.stream, one.sentence, is_arrival, one.from_s if is_arrival else one.to_s)
        for one in recap.entries
        for is_arrival in (True, False)
        if (one.came if is_arrival else one.left)
    }


def figures(true: Collection[Change], told: Collection[Change]) -> dict[str, float]:
    right = sum(1 for _ in pairs(true, told))
    return {
        "changes": len(true),
        "told": len(told),
        "right": right,
        "recall": round(right / max(1, len(true)), 4),
        "precision": round(right / max(1, len(told)), 4),
    }


def pairs(true: Collection[Change], told: Collection[Change]) -> Iterator[tuple[Change, Change]]:
    """Pair changes that agree within `TOLERANCE_S`, each at most once, earliest first."""
    waiting = defaultdict[tuple[object, ...], list[Change]](list)
    for one in sorted(true):
        waiting[one[:3]].append(one)
    for one in sorted(told):
        near = (other for other in waiting[one[:3]] if abs(other.at_s - one.at_s) <= TOLERANCE_S)
        if (met := next(near, None)) is not None:
            waiting[one[:3]].remove(met)
            yield met, one
