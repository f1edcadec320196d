"""`python -m eval find` searches made-up streams for when things were in view.

Asks for all objects that came into view at most `RARE` times, and as many that never did. A span is
right if it and one unbroken stretch in view share at least half of their union (IoU 0.5): recall
counts stretches, precision spans. A row is an effort without a time limit, or a number of
judgements per stream with the proposals of `default`: the curve. `every block` shows where the
judgement itself is the limit. Times are wall-clock: on a busy machine they mean nothing. With
`--cameras N`, N other streams of the same process meanwhile ingest a frame whenever one is due.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from statistics import median
from typing import Annotated, Any

import typer

from eval.command_line import AsJson
from eval.result_table import ResultTable, show, show_document
from eval.speed.load import beside_streams
from eval.speed.past import show_script, world_model, world_scripts
from eval.speed.subject import endless_frames
from eval.stream_world.history import History
from eval.stream_world.seeds import FIND
from eval.stream_world.vocabulary import with_article
from memory.block_facts import BlockFacts
from vstream import EFFORTS, Effort, Finding, Session, load_config, open_session

RARE = 10
STATEMENT = "{a} is there now"
EVERY_BLOCK = Effort(None, None, None)
_IOU = 0.5
_POOL = 64
Span = tuple[float, float]


@dataclass
class Figures:
    statements: int = 0
    stretches: int = 0
    found: int = 0
    spans: int = 0
    right: int = 0
    never: int = 0
    rejected: int = 0
    judged: int = 0
    cpu_s: float = 0.0
    took_s: list[float] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)
    """Until the first span, for statements that have one."""
    again_s: list[float] = field(default_factory=list)
    ingested: float = 1.0
    """The share of the cameras' due frames that was ingested in time; of the last stream."""

    def add(self, truth: Sequence[Span], finding: Finding, cpu_s: float) -> None:
        spans = [(one.from_s, one.to_s) for one in finding.spans]
        self.statements += 1
        self.stretches += len(truth)
        self.found += sum(_is_met(one, spans) for one in truth)
        self.spans += len(spans)
        self.right += sum(_is_met(one, truth) for one in spans)
        self.never += not truth
        self.rejected += not truth and not spans
        self.judged += finding.judged
        self.took_s.append(finding.seconds)
        self.cpu_s += cpu_s

    def document(self) -> dict[str, Any]:
        return {
            "statements": self.statements,
            "stretches": self.stretches,
            "recall": round(self.found / max(1, self.stretches), 4),
            "precision": round(self.right / max(1, self.spans), 4),
            "never rejected": round(self.rejected / max(1, self.never), 4),
            "judged": round(self.judged / max(1, self.statements), 1),
            "cpu seconds": round(self.cpu_s / max(1, self.statements), 2),
            "seconds": _middle(self.took_s),
            "to the first span": _middle(self.first_s),
            "again": _middle(self.again_s),
            "frames in time": round(self.ingested, 4),
        }


def find(
    seed: Annotated[int, typer.Option(min=0, max=1 << 20, help="Which streams.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 1,
    minutes: Annotated[float, typer.Option(min=1, help="Length of each.")] = 60,
    most: Annotated[int, typer.Option(min=1, help="Statements of a stream, and never so.")] = 40,
    every: Annotated[int, typer.Option(min=0, help="Of so many every block is judged.")] = 0,
    curve: Annotated[str, typer.Option(help="Judgements of the curve's points.")] = "",
    cameras: Annotated[int, typer.Option(min=0, help="Streams that bring frames meanwhile.")] = 0,
    as_json: AsJson = False,
) -> None:
    """How well `find` tells when a thing was in view in a made-up stream."""
    efforts = {name: replace(EFFORTS[name], milliseconds=None) for name in ("quick", "default")}
    for judgements in map(int, filter(None, curve.split(","))):
        efforts[f"{judgements} judgements"] = replace(efforts["default"], judgements=judgements)
    figures = {name: Figures() for name in (*efforts, *(("every block",) if every else ()))}
    config = load_config()
    model = world_model(config)
    pool = list(islice(endless_frames(model.sample_fps), _POOL if cameras else 0))
    for script in world_scripts(FIND, seed, streams, minutes):
        with open_session(config, model, f"find-{script.seed}") as session:
            show_script(session, script)
            asked = _asked(History.of(script), most)
            for name, effort in efforts.items():
                with beside_streams(config, model, pool, cameras) as ingested:
                    _measure(session, asked, effort, figures[name])
                    figures[name].ingested = ingested()
            _measure(session, asked[:every], EVERY_BLOCK, figures.get("every block", Figures()))
    rows = {name: one.document() for name, one in figures.items()}
    show([ResultTable.of("When things were in view", rows)])
    if as_json:
        show_document(rows)


def _asked(history: History, most: int) -> list[tuple[str, list[Span]]]:
    """Return rarely seen objects with their spans, then as many that were never seen."""
    seen = ((name, history.appearances(name)) for name in history.names)
    rare = [(name, stretches) for name, stretches in seen if len(stretches) <= RARE][:most]
    so = [(name, [(float(one.start), float(one.stop)) for one in of]) for name, of in rare]
    never: Iterable[str] = islice(history.unseen, len(so))
    return [*so, *((name, []) for name in never)]


def _measure(
    session: Session, asked: Sequence[tuple[str, list[Span]]], effort: Effort, figures: Figures
) -> None:
    for name, truth in asked:
        session.memory.facts = BlockFacts()  # so that it does not know already
        statement = STATEMENT.replace("{a}", with_article(name))
        finding = Finding({"stream": session}, statement, effort=effort)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        came_s = [time.perf_counter() - began_s for _ in finding]
        figures.add(truth, finding, time.process_time() - began_cpu_s)
        figures.first_s += came_s[:1]
        again = Finding({"stream": session}, statement, effort=effort)
        for _ in again:
            pass
        figures.again_s.append(again.seconds)


def _middle(seconds: Sequence[float]) -> float:
    return round(median(seconds), 3) if seconds else 0.0


def _is_met(one: Span, others: Sequence[Span]) -> bool:
    return any(_iou(one, other) >= _IOU for other in others)


def _iou(one: Span, other: Span) -> float:
    both = min(one[1], other[1]) - max(one[0], other[0])
    return max(0.0, both) / (max(one[1], other[1]) - min(one[0], other[0]))
