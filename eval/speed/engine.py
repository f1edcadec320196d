"""measure_engine: measures the configured model as the product uses it."""

from typing import Annotated

import psutil
import typer

from eval.speed.figures import Figures, Row
from eval.speed.questions import measured_questions, timed, unending
from eval.speed.subject import endless_frames, here, ingest, passing_session, ready_model
from vstream import load_config


def measure_engine(
    minutes: Annotated[
        list[float] | None, typer.Option(help="Length of history; may be given again, rising.")
    ] = None,
) -> Figures:
    """Ingest, answers, bytes and resident memory of the configured model."""
    model = unending(ready_model())
    frames, questions = endless_frames(model.sample_fps), measured_questions(model.family)
    per_block = model.family.frames_per_block
    rows: list[Row] = []
    stages: list[Row] = []
    with passing_session(load_config(), model) as session:
        for history_s in (60 * one for one in sorted(minutes or [1, 60])):
            wanted = round(history_s * model.sample_fps) - session.memory.num_blocks * per_block
            frame_s, stages_ms = ingest(session, frames, wanted)
            found = timed(session.ask, questions)
            store_bytes = sum(session.memory.stats().bytes_by_tier.values())
            rows.append(
                {
                    "history_s": history_s,
                    "ingest_fps": 1 / frame_s,
                    "first_token_ms": found.first_token_ms,
                    "tokens_per_s": 1000 / found.token_ms,
                    "bytes_per_hour": round(store_bytes / history_s * 3600),
                    "store_bytes": store_bytes,
                    "rss_bytes": psutil.Process().memory_info().rss,
                }
            )
            stages.append({"history_s": history_s, **stages_ms})
    return {"here": [here(model)], "histories": rows, "stages of an ingested frame": stages}
