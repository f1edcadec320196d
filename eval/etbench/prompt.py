"""Prompt: a sample in, what a model is asked and which frames it may have seen by then out.

E.T. Bench asks about a whole video: nothing comes after the question.
"""

from dataclasses import dataclass

from eval.etbench.sample import Sample
from vstream import SettingsError

OFFICIAL_FPS = 1.0
"""Frames a second in the official inference."""

_PREFILLED = frozenset(("rar", "eca", "rvq"))


@dataclass(frozen=True)
class SeenFrames:
    """The frames with `start_s <= time <= end_s`; the question is asked at `end_s`."""

    start_s: float
    end_s: float
    sample_fps: float = OFFICIAL_FPS

    def may_show(self, at_s: float) -> bool:
        """Whether a frame of that time may be seen."""
        return self.start_s <= at_s <= self.end_s


def question(sample: Sample) -> str:
    """The text as published, with options and the format of the answer in it."""
    if "<vid>" in sample.q:
        raise SettingsError(
            f"{sample.key} has `<vid>` for its times: give the annotations with times as text "
            "(etbench_txt_v1.0.json)"
        )
    return sample.q


def answer_start(sample: Sample) -> str:
    """What the official inference puts in the model's mouth; it is no part of the answer `a`."""
    return "Best Option: (" if sample.task in _PREFILLED else ""


def seen_frames(sample: Sample) -> SeenFrames:
    """All of the video, for every task."""
    return SeenFrames(0.0, sample.duration)
