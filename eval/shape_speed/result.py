"""ShapeSpeed: what was measured of one shape in, a table for people out."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table

from eval.shape_speed.device_rates import DeviceRates


@dataclass(frozen=True)
class Step:
    """One step's time in seconds: ours, the least possible, and plain use's where there is one."""

    ours_s: float
    floor_s: float
    plain_s: float | None = None


@dataclass(frozen=True)
class ShapeSpeed:
    """One shape on one device. Figures of plain use have no memory beyond the window."""

    shape: str
    device: str
    dtype: str
    rates: DeviceRates
    frame_px: tuple[int, int]
    """Width and height of the frames that were given."""
    question_tokens: int
    answer_tokens: int
    """Decoded of every answer, the best token each time unless it is called drawn."""
    window_tokens: int
    context_tokens: int
    """Of a question: prefix, retrieved blocks, recent window and the question."""
    history_frames: int
    ingest_frame: Step
    first_token: Step
    decode_token: Step
    drawn_token: Step
    """As `decode_token`, each token drawn at temperature 1 from the whole vocabulary."""
    stages_ms: Mapping[str, float]
    """Of a frame, by stage of ingest, on the clock of the process that drives the device."""
    store_bytes_per_frame: int
    askers_tokens_per_s: Mapping[int, float]
    """By number of askers of one stream at once."""
    askers_drawn_tokens_per_s: Mapping[int, float]
    first_token_s_by_hours: Mapping[float, float]
    """With an index of so many hours; see FoldedHistory."""
    peak_bytes: int | None
    """Most memory in use: allocated on a card, else resident."""


def shape_table(speed: ShapeSpeed) -> Table:
    width, height = speed.frame_px
    table = Table(
        "step",
        "ours",
        "floor",
        "ours / floor",
        "plain transformers",
        title=f"{speed.shape}, {speed.device}: frames of {width} x {height}, questions of "
        f"{speed.question_tokens} tokens, answers of {speed.answer_tokens}",
    )
    steps = {
        "ingest, ms a frame": speed.ingest_frame,
        "first token, ms": speed.first_token,
        "decode, ms a token": speed.decode_token,
        "decode, drawn, ms a token": speed.drawn_token,
    }
    for name, step in steps.items():
        table.add_row(
            name,
            f"{1000 * step.ours_s:.1f}",
            f"{1000 * step.floor_s:.1f}",
            f"{step.ours_s / step.floor_s:.1f}",
            "-" if step.plain_s is None else f"{1000 * step.plain_s:.1f}",
        )
    together = {"": speed.askers_tokens_per_s, ", drawn": speed.askers_drawn_tokens_per_s}
    for how, rates in together.items():
        for askers, rate in rates.items():
            table.add_row(f"{askers} askers{how}, tokens/s together", f"{rate:.1f}", "", "", "")
    for hours, first_s in speed.first_token_s_by_hours.items():
        table.add_row(f"first token at {hours:g} h of history, ms", f"{1000 * first_s:.1f}")
    return table
