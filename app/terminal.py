"""Show progress, answers and evidence in a terminal: answers on stdout, the rest on stderr."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.color import Color
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from app.stream_time import clock
from memory.locks import Rank, ranked_lock
from vstream.times.zone import local_range, zone_of

if TYPE_CHECKING:
    from vstream.alert import Firing
    from vstream.answer_stream import AnswerStream
    from vstream.ingest import IngestProgress, IngestWorker
    from vstream.question import Answer, Saying

EVIDENCE_ROWS = 5
PICTURES = 3
PICTURE_COLUMNS = 24
_POLL_S = 0.05
_OLD_S = 5.0
"""Mention the newest frame's age if it is older than this."""
_DIGITS = {
    "confidence": 4,
    "probability": 4,
    "score": 6,
    "share": 4,
    "first_token_s": 4,
    "retrieve_s": 4,
    "took_s": 4,
}


class Terminal:
    """The one place that writes for people."""

    def __init__(self) -> None:
        self.out = Console(highlight=False, soft_wrap=True, emoji=False)
        self.err = Console(stderr=True, highlight=False, emoji=False)
        self._speaking = ranked_lock(Rank.TERMINAL)
        self._began = time.monotonic()
        self._has_named = False
        """Whether a model for real scenes has been suggested, as it is after the first answer."""

    def document(self, text: str) -> None:
        """Write a line of JSON or plain text to stdout, unstyled."""
        with self._speaking:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        self.err.print(text, markup=False, style="dim", soft_wrap=True)

    def fail(self, text: str) -> None:
        self.err.print(f"error: {text}", markup=False, style="red", soft_wrap=True)

    def prompt(self, label: str) -> None:
        self.err.print(f"{label} > ", end="", markup=False, style="bold")

    def question(self, label: str, text: str) -> None:
        self.err.print(f"\n{label} > {text}", markup=False, style="bold")

    def follow(
        self,
        worker: IngestWorker,
        until_s: float | None = None,
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Run `worker` behind a progress bar until it ends or `enough` returns True. Raises the
        worker's error.
        """
        with self.progress(worker.source_name, until_s) as show:
            worker.start()
            try:
                while worker.is_running and not enough():
                    show(worker.progress, "")
                    time.sleep(_POLL_S)
            finally:  # it ended, saw enough, or the user left
                worker.stop()
                worker.join()
                show(worker.progress, "")

    @contextmanager
    def loading(self, what: str) -> Iterator[None]:
        """Show a bar with the seconds since the command started; nothing without a terminal."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            _Seconds(self._began),
        )
        shown = self.err.is_terminal
        with Progress(*columns, console=self.err, transient=True, disable=not shown) as bar:
            bar.add_task(what, total=None)
            yield

    @contextmanager
    def progress(
        self, name: str, until_s: float | None = None, *, disable: bool = False
    ) -> Iterator[Callable[[IngestProgress, str], None]]:
        """A progress bar; yields a function that updates it with progress and a note."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[status]}", markup=False),
        )
        with Progress(*columns, console=self.err, disable=disable) as bar:
            task = bar.add_task(name, total=until_s, status="connecting")

            def show(done: IngestProgress, more: str) -> None:
                bar.update(task, completed=done.stream_s, status=_status(done, more))

            yield show

    def tell_answer(
        self,
        stream: AnswerStream,
        model: str,
        stream_id: str,
        progress: IngestProgress | None = None,
        *,
        as_json: bool,
    ) -> Answer:
        """Print an answer as `stream_answer` does, or as `answer_document`."""
        if not as_json:
            return self.stream_answer(stream)
        told = stream.answer.document()
        self.document(answer_document(told, model, stream_id, progress))
        return stream.answer

    def stream_answer(self, stream: AnswerStream) -> Answer:
        """Print the answer as it comes, then its evidence."""
        with self._speaking:
            for piece in stream:
                self.piece(piece)
            answer = stream.answer
            pictures = [one.thumbnail for one in answer.evidence[:PICTURES]]
            self.end_of_answer(answer.document(), answer.question.zone, pictures)
            if answer.knows is not None and not self._has_named:
                self._has_named = True
                from app.real_model import real_model  # imports torch, to look at the GPU

                if (found := real_model()) is not None:
                    self.say(found)
        return answer

    def piece(self, text: str) -> None:
        self.out.print(text, end="", markup=False)
        sys.stdout.flush()

    def end_of_answer(
        self, told: Mapping[str, Any], zone: str | None = None, pictures: Sequence[bytes] = ()
    ) -> None:
        """Print what belongs under an answer: notes from its document, its evidence, and the
        `pictures` of the best evidence.
        """
        self.out.print(" ..." if told["truncated"] else "")
        if told["looked"] is not None:
            self.say(f"looked at {looked(told['looked'], zone)}")
        if told["plan"] is not None:
            looked_for = " and ".join(repr(one["statement"]) for one in told["plan"]["found"])
            self.say(f"answered from a search for {looked_for}; --no-plan lets the model answer")
        if told["unsure"]:
            self.say(f"unsure: {told['unsure_because']}")
        if told["knows"] is not None and told["strange"] is None:
            only = f"this model knows {told['knows']}"
            self.say(f"{only}; its answers about anything else mean nothing")
        self._evidence(told, pictures)

    def firing(self, firing: Firing) -> None:
        """Print a firing on its own line, never in the middle of an answer."""
        self.line(f"{clock(firing.at_s)}  {firing.condition}  ({firing.probability:.2f})")

    def line(self, text: str) -> None:
        """Print a line, never in the middle of an answer."""
        with self._speaking:
            if self.out.is_terminal:
                self.out.print()  # move off a prompt
            self.out.print(text, markup=False)
            sys.stdout.flush()

    def _evidence(self, told: Mapping[str, Any], pictures: Sequence[bytes]) -> None:
        evidence = told["evidence"]
        meant = "similarity to the question" if told["plan"] is None else "probability"
        best = max((abs(one["score"]) for one in evidence), default=1.0) or 1.0
        columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
            "moment": span,
            "score": lambda one: f"{one['score']:.3f}",
            "layers": lambda one: str(one["num_layers"]),
            meant: lambda one: "█" * round(24 * one["score"] / best),
        }
        if not all("num_layers" in one for one in evidence):  # a service does not send it
            del columns["layers"]
        rows = [[cell(one) for cell in columns.values()] for one in evidence[:EVIDENCE_ROWS]]
        self.err.print(table_of(columns, rows))
        pictured = [(one, jpeg) for one, jpeg in zip(evidence, pictures, strict=False) if jpeg]
        if self.err.is_terminal and pictured:
            grid = Table.grid(padding=(0, 2))
            grid.add_row(*(Text(span(one), style="dim") for one, _ in pictured))
            grid.add_row(*(_half_blocks(jpeg, PICTURE_COLUMNS) for _, jpeg in pictured))
            self.err.print(grid)
        if told["spans"]:
            where = (
                f"{clock(one['from_s'])}-{clock(one['to_s'])} ({one['share']:.0%})"
                for one in told["spans"]
            )
            self.say(f"its words attended to {', '.join(where)}")
        times, age_s = told["timings_ms"], _age_s(evidence)
        if age_s > _OLD_S:
            self.say(f"the newest frame was captured {_ago(age_s)}")
        self.say(
            f"{len(evidence)} moments read, newest {clock(told['newest_frame_s'])}; "
            f"first token {times['ttft']:.0f} ms, whole answer {times['total']:.0f} ms"
        )


class _Seconds(ProgressColumn):
    def __init__(self, began: float) -> None:
        super().__init__()
        self._began = began

    def render(self, task: Task) -> Text:
        return Text(f"{time.monotonic() - self._began:.0f} s")


def _half_blocks(jpeg: bytes, columns: int) -> Text:
    """Draw a picture `columns` wide; each character shows two pixels, one above the other."""
    import numpy as np
    from PIL import Image

    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    rows = max(1, round(columns * image.height / image.width / 2))
    pixels = np.asarray(image.resize((columns, 2 * rows), Image.Resampling.BOX)).tolist()
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            upper, lower = pixels[2 * row][column], pixels[2 * row + 1][column]
            text.append("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        text.append("\n")
    return text


def table_of(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """Make a table as every command shows it; cells are plain text, not markup."""
    table = Table(*headings, box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _status(done: IngestProgress, more: str) -> str:
    parts = [f"{clock(done.stream_s)}  {done.frames_encoded} frames encoded"]
    parts += [f"{done.frames_duplicate} unchanged"] * bool(done.frames_duplicate)
    parts += [f"{done.frames_lost} lost"] * bool(done.frames_lost)
    return ", ".join([*parts, more] if more else parts)


def span(evidence: Mapping[str, Any]) -> str:
    """Format the moment of a block, e.g. 1:23 or 1:23-1:25."""
    start, end = clock(evidence["start_s"]), clock(evidence["end_s"])
    return start if start == end else f"{start}-{end}"


def looked(where: Mapping[str, Any], zone: str | None) -> str:
    """Format the stretch that an answer is about, with clock times if the question has a zone."""
    stretch = f"{clock(where['from_s'])} to {clock(where['to_s'])}"
    if zone is None:
        return stretch
    return f"{stretch}, for {local_range(where['begin_at'], where['end_at'], zone_of(zone))}"


def answer_document(
    told: Mapping[str, Any], model: str, stream: str, progress: IngestProgress | None = None
) -> str:
    """Make the one-line JSON of `vstream ask --json` from an answer's document; `progress` counts
    the frames ingested for it. Numbers are rounded, and all times are in seconds.
    """
    rest = in_seconds(dict(told))
    times = rest.pop("timings_ms")
    document = _rounded({"model": model, "stream": stream, **rest, **times})
    if progress is not None:
        document["frames"] = {
            "seen": progress.frames_seen,
            "encoded": progress.frames_encoded,
            "dropped": progress.frames_duplicate + progress.frames_lost,
        }
    return json.dumps(document, allow_nan=False)


def firing_document(firing: Firing, said: Saying | None, called: str = "condition") -> str:
    """Make the one-line JSON of a firing, with what the model says of it, if known."""
    sentence = None if said is None else said.text
    document = {called: firing.condition, "sentence": sentence, **_rounded(firing.document())}
    return json.dumps(document, allow_nan=False)


_IN_SECONDS = {
    "ttft": ("first_token_s", 1000),
    "retrieve": ("retrieve_s", 1000),
    "total": ("took_s", 1000),
    "seconds": ("took_s", 1),
    "milliseconds": ("limit_s", 1000),
}
"""Fields of documents -> (name in the output, units per second)."""


def in_seconds(value: Any) -> Any:
    """Convert all durations of a document to seconds, and rename their fields to match."""
    if isinstance(value, list):
        return [in_seconds(one) for one in value]
    if not isinstance(value, dict):
        return value
    told = {}
    for key, one in value.items():
        name, unit = _IN_SECONDS.get(key, (key, None))
        told[name] = in_seconds(one) if unit is None or one is None else one / unit
    return told


def _rounded(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, _DIGITS[name]) if name in _DIGITS and value is not None else value


def _age_s(evidence: Sequence[Mapping[str, Any]]) -> float:
    """How long ago the newest frame was captured, by the capture clock; -1 without evidence."""
    newest = max(evidence, key=lambda one: one["end_s"], default=None)
    return -1.0 if newest is None else time.time() - newest["captured_at"]


def _ago(age_s: float) -> str:
    for unit, seconds in (("days", 86_400), ("h", 3600), ("min", 60)):
        if age_s >= 2 * seconds:
            return f"{age_s / seconds:.0f} {unit} ago"
    return f"{age_s:.0f} s ago"
