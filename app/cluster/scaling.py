"""by_load: what each worker has to do in, how many workers are to do it out.

Serve copies this module to its controller: it imports nothing of ours.
"""

import math
from typing import Any

FULL = 0.8
"""Workers are to be as full as this, on average over Serve's `look_back_period_s`."""
DELAYS_S = {"upscale_delay_s": 30.0, "downscale_delay_s": 600.0}
"""For so long it must have been so, before one more is started or one too many is ended."""


def load_of(streams: int, most_streams: int, answers: int, most_answers: int) -> float:
    """Of a worker: the share of its places for streams or for answers, whichever is more, that are
    taken; above 1 where answers wait.
    """
    return max(streams / most_streams, answers / most_answers)


def by_load(context: Any) -> tuple[int, dict[str, Any]]:
    """Serve's AutoscalingContext in, the number of workers that is wanted out, and no state.

    One that has told nothing yet is taken to have nothing to do.
    """
    loads = (context.aggregated_metrics or {}).get("load", {})
    if not loads:
        return context.target_num_replicas, {}
    return max(1, math.ceil(round(sum(loads.values()) / FULL, 6))), {}
