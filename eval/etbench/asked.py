"""asked_of: samples of E.T. Bench in, what a run asks of which video out; answers back to `a`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from eval.etbench.files import Prediction
from eval.etbench.prompt import OFFICIAL_FPS, answer_start, question, seen_frames
from eval.etbench.published_data import PublishedData
from eval.etbench.sample import Sample
from eval.play.asked import Asked, Prompt, Span
from eval.play.options import Convention

CONVENTION = Convention(max_tokens=1024, sample_fps=OFFICIAL_FPS)


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


def _asked(sample: Sample, data: PublishedData) -> Asked:
    video = data.video(sample)
    assert video is not None
    seen = seen_frames(sample)
    span = Span(seen.start_s, seen.end_s or math.inf)  # without a duration: the whole file
    return Asked(
        str(sample.key), video, (span,), Prompt(question(sample), answer_start=answer_start(sample))
    )
