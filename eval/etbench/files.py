"""Reads E.T. Bench's files: its published folder, a subset, and a model's answers.

Downloads nothing. Errors name what is missing and where it is published.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from eval.etbench.sample import Answered, Keyed, Prediction, Sample, SampleKey
from vstream import SettingsError

PUBLISHED_AT = "https://huggingface.co/datasets/PolyU-ChenLab/ETBench"
ANNOTATIONS = Path("annotations/etbench_txt_v1.0.json")
TASK_ANNOTATIONS = Path("annotations/txt")
SUBSET = Path("evaluation/subset.json")
VIDEO_FOLDERS = (Path("videos"), Path("videos_compressed"))
_MOST_NAMED = 10

Loaded = TypeVar("Loaded")
Entry = TypeVar("Entry", bound=Keyed)


_SAMPLES = TypeAdapter(list[Sample])
_PREDICTIONS = TypeAdapter(Annotated[list[Prediction], Field(min_length=1)])
_SUBSET = TypeAdapter(dict[str, dict[str, list[int]]])


def read_samples(path: Path) -> list[Sample]:
    """Read the annotated samples. Raises SettingsError if the layout is not the official one."""
    return _all_different(_read(path, _SAMPLES), path)


def read_predictions(path: Path) -> list[Prediction]:
    return _all_different(_read(path, _PREDICTIONS), path)


def read_subset(path: Path) -> frozenset[SampleKey]:
    """Return the keys of {task: {source: [idx, ...]}}."""
    return frozenset(
        SampleKey(task, source, idx)
        for task, sources in _read(path, _SUBSET).items()
        for source, indices in sources.items()
        for idx in indices
    )


def _read(path: Path, adapter: TypeAdapter[Loaded]) -> Loaded:
    try:
        return adapter.validate_python(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{path} is not of the E.T. Bench layout: at {place or 'the top'}: {first['msg']} "
            f"({error.error_count()} such places)"
        ) from error
    except ValueError as error:
        raise SettingsError(f"{path} is no JSON file: {error}") from error


def _all_different(entries: list[Entry], path: Path) -> list[Entry]:
    for key, times in Counter(entry.key for entry in entries).items():
        if times > 1:
            raise SettingsError(f"{path} has {key} twice: task, source and idx must be unique")
    return entries


def join(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    subset: Collection[SampleKey] | None,
) -> tuple[list[Answered], list[Sample]]:
    """Return what was answered, in the predictions' order, and the unanswered samples."""
    by_key = {sample.key: sample for sample in samples}
    for one in predictions:
        if one.key not in by_key:
            raise SettingsError(f"the predictions answer {one.key}, which is not annotated")
    wanted = by_key.keys() if subset is None else subset
    answered = [Answered(by_key[one.key], one.a) for one in predictions if one.key in wanted]
    known = {sample.key for sample, _ in answered}
    return answered, [one for one in samples if one.key in wanted and one.key not in known]


@dataclass(frozen=True)
class PublishedData:
    """A folder as published, with its video archives extracted."""

    root: Path

    def samples(self) -> list[Sample]:
        """Read the merged file, else the files by task. Raises SettingsError if there is none."""
        return [sample for path in self._annotations() for sample in read_samples(path)]

    def entries(self) -> list[dict[str, Any]]:
        """Return the raw entries of the samples, with everything published of them."""
        paths = self._annotations()
        return [entry for path in paths for entry in json.loads(path.read_text("utf-8"))]

    def _annotations(self) -> list[Path]:
        merged = self.root / ANNOTATIONS
        if merged.is_file():
            return [merged]
        by_task = sorted((self.root / TASK_ANNOTATIONS).glob("*.json"))
        if not by_task:
            raise SettingsError(
                f"E.T. Bench has no annotations in {self.root}: neither {ANNOTATIONS} nor "
                f"{TASK_ANNOTATIONS}/*.json is there; they are published at {PUBLISHED_AT}"
            )
        return by_task

    def subset(self) -> Path:
        """The 470 samples used for commercial models."""
        path = self.root / SUBSET
        if not path.is_file():
            raise SettingsError(
                f"E.T. Bench has no {SUBSET} in {self.root}; it is published at {PUBLISHED_AT}"
            )
        return path

    def video(self, sample: Sample) -> Path | None:
        """Return the video as published, else the compressed one, else None."""
        places = (self.root / folder / sample.video for folder in VIDEO_FOLDERS)
        return next((place for place in places if place.is_file()), None)

    def require_videos(self, samples: Sequence[Sample]) -> None:
        """Raise SettingsError naming the missing videos."""
        missing = sorted({s.video for s in samples if s.video and self.video(s) is None})
        if missing:
            named = ", ".join(f"{VIDEO_FOLDERS[0]}/{name}" for name in missing[:_MOST_NAMED])
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            raise SettingsError(
                f"E.T. Bench lacks {len(missing)} videos in {self.root}: {named}{more}; they are "
                f"published in the archives {VIDEO_FOLDERS[0]}/*.tar.gz at {PUBLISHED_AT}"
            )
