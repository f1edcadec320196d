"""by_load: choose the number of workers from the load of each.

Serve copies this module to its controller, so it imports nothing of ours.
"""

import math
from typing import Any

FULL = 0.8
"""The load to aim at, averaged over Serve's `look_back_period_s`."""
DELAYS_S = {"upscale_delay_s": 30.0, "downscale_delay_s": 600.0}
"""How long the wish must last before a worker is started or ended."""


def load_of(streams: int, most_streams: int, answers: int, most_answers: int) -> float:
    """Return a worker's load: the share taken of its places for streams or for answers, whichever
    is larger. It is above 1 while answers wait.
    """
    return max(streams / most_streams, answers / most_answers)


def by_load(context: Any) -> tuple[int, dict[str, Any]]:
    """Return how many workers are wanted, given Serve's AutoscalingContext; there is no state.

    A worker that has not reported yet counts as idle.
    """
    loads = (context.aggregated_metrics or {}).get("load", {})
    if not loads:
        return context.target_num_replicas, {}
    return max(1, math.ceil(round(sum(loads.values()) / FULL, 6))), {}
