"""asked_of: samples of E.T. Bench in, what a run asks of which video out; answers back to `a`.

E.T. Bench asks about a whole video: nothing comes after the question, and all frames may be seen.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eval.etbench.files import Prediction
from eval.etbench.published_data import PublishedData
from eval.etbench.sample import Sample
from eval.play.asked import Asked, Prompt, Span
from eval.play.options import Convention
from vstream import SettingsError

CONVENTION = Convention(max_tokens=1024, sample_fps=1.0)
_PREFILLED = frozenset(("rar", "eca", "rvq"))


def asked_of(samples: Sequence[Sample], data: PublishedData) -> list[Asked]:
    """In the order of the samples. Raises SettingsError where a video is missing."""
    data.require_videos(samples)
    return [_asked(sample, data) for sample in samples]


def predictions_of(
    samples: Sequence[Sample], answers: Mapping[str, Mapping[str, Any]]
) -> list[Prediction]:
    """Of those that were asked: `a` is what the model said, None where it could not."""
    return [
        Prediction(
            task=sample.task, source=sample.source, idx=sample.idx, a=answers[name]["texts"][0]
        )
        for sample in samples
        if (name := str(sample.key)) in answers
    ]


def prompt_of(sample: Sample) -> Prompt:
    """The text as published, with options and the format of the answer in it, and what the official
    inference puts in the model's mouth; that is no part of the answer `a`.
    """
    if "<vid>" in sample.q:
        raise SettingsError(
            f"{sample.key} has `<vid>` for its times: give the annotations with times as text "
            "(etbench_txt_v1.0.json)"
        )
    return Prompt(sample.q, answer_start="Best Option: (" if sample.task in _PREFILLED else "")


def _asked(sample: Sample, data: PublishedData) -> Asked:
    video = data.video(sample)
    assert video is not None
    span = Span(0.0, sample.duration or math.inf)  # without a duration: the whole file
    return Asked(str(sample.key), video, (span,), prompt_of(sample))
