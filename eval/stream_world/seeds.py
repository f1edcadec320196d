"""Seeds: the separate ranges of seeds for each use of made-up streams.

Measurements must not use training data, so no use draws from another's range. Streams that are only
shown, or timed, have small seeds.
"""

_PART = 1 << 41
"""More streams than any use draws."""
MAX_TRAINING_SEED = 200


def _part(number: int) -> range:
    return range(number * _PART, (number + 1) * _PART)


def vision_training(seed: int) -> range:
    """Return the seeds for the vision tower in the training run of that seed."""
    return _part(2 + seed)


def stream_training(seed: int) -> range:
    """Return the seeds for the whole model in the training run of that seed."""
    return _part(1000 + seed)


MAJORITY = _part(256)
"""For finding an exam's most frequent answers."""
SEARCH = _part(300)
FIND = _part(301)
EXAMS = range(512 * _PART, 516 * _PART)
