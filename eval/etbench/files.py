"""Files: the JSON files of annotations, predictions and a subset in, samples and answers out."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from eval.etbench.sample import Answered, Sample, SampleKey
from vstream import SettingsError

Loaded = TypeVar("Loaded")


class Prediction(BaseModel):
    """What is read of an entry of a prediction file: the key and `a`, of whatever type it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: str
    source: str
    idx: int
    a: Any = None

    @property
    def key(self) -> SampleKey:
        """The sample that is answered."""
        return SampleKey(self.task, self.source, self.idx)


_SAMPLES = TypeAdapter(list[Sample])
_PREDICTIONS = TypeAdapter(Annotated[list[Prediction], Field(min_length=1)])
_SUBSET = TypeAdapter(dict[str, dict[str, list[int]]])


def read_samples(path: Path) -> list[Sample]:
    """The annotated samples. Raises SettingsError if the file is not of the official layout."""
    samples = _read(path, _SAMPLES)
    _refuse_repeated([sample.key for sample in samples], path)
    return samples


def read_predictions(path: Path) -> list[Prediction]:
    """The answers of a model. Raises SettingsError if the file is not of the official layout."""
    predictions = _read(path, _PREDICTIONS)
    _refuse_repeated([one.key for one in predictions], path)
    return predictions


def read_subset(path: Path) -> frozenset[SampleKey]:
    """The keys of {task: {source: [idx, ...]}}."""
    subset = _read(path, _SUBSET)
    return frozenset(
        SampleKey(task, source, idx)
        for task, sources in subset.items()
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


def _refuse_repeated(keys: Sequence[SampleKey], path: Path) -> None:
    if len(set(keys)) < len(keys):
        seen: set[SampleKey] = set()
        repeated = next(key for key in keys if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise SettingsError(f"{path} has {repeated} twice: task, source and idx must be unique")


def join(
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    subset: Collection[SampleKey] | None,
) -> tuple[list[Answered], list[Sample]]:
    """What was answered, in the order of the predictions, and the samples that were not."""
    by_key: Mapping[SampleKey, Sample] = {sample.key: sample for sample in samples}
    for one in predictions:
        if one.key not in by_key:
            raise SettingsError(f"the predictions answer {one.key}, which is not annotated")
    answered = [
        Answered(by_key[one.key], one.a)
        for one in predictions
        if subset is None or one.key in subset
    ]
    known = {sample.key for sample, _ in answered}
    rest = [
        sample
        for sample in samples
        if sample.key not in known and (subset is None or sample.key in subset)
    ]
    return answered, rest
