"""Seeds: who draws streams of the made-up world in, the seeds that are its own out.

What is measured must not have been trained on, so nobody draws from another's range. Streams that
are only shown, or timed, have small seeds.
"""

_PART = 1 << 41
"""More streams than any one of them draws."""
MAX_TRAINING_SEED = 200


def _part(number: int) -> range:
    return range(number * _PART, (number + 1) * _PART)


def vision_training(seed: int) -> range:
    """What the vision tower sees in the training run of that seed."""
    return _part(2 + seed)


def stream_training(seed: int) -> range:
    """What the whole model sees in the training run of that seed."""
    return _part(1000 + seed)


MAJORITY = _part(256)
"""By which an exam's most frequent answers are found."""
SEARCH = _part(300)
FIND = _part(301)
EXAMS = range(512 * _PART, 516 * _PART)
