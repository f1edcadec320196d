"""measure_engine: lengths of history in; ingest, answers, bytes and resident memory at each out.

The configured model is measured as the product uses it.
"""

from collections.abc import Sequence

import psutil

from eval.speed.figures import Figures, Row
from eval.speed.questions import asked, measured_questions, unending
from eval.speed.subject import endless_frames, here, ingest, passing_session, ready_model
from vstream import load_config


def measure_engine(histories_s: Sequence[float]) -> Figures:
    """One row for each history; these must rise."""
    model = unending(ready_model())
    frames, questions = endless_frames(model.sample_fps), measured_questions(model.family)
    per_block = model.family.frames_per_block
    rows: list[Row] = []
    stages: list[Row] = []
    with passing_session(load_config(), model) as session:
        for history_s in histories_s:
            wanted = round(history_s * model.sample_fps) - session.memory.num_blocks * per_block
            frame_s, stages_ms = ingest(session, frames, wanted)
            found = asked(session.ask, questions)
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
