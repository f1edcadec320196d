"""The E.T. Bench fixture of tests/data/etbench, and samples that a test makes up itself."""

import functools
import json
from pathlib import Path

from encoders.sentence_encoder import SentenceEncoder
from eval.etbench.sample import Answered, Sample
from eval.etbench.scores import score
from eval.etbench.sentence_likeness import SentenceLikeness

FOLDER = Path(__file__).parents[1] / "data" / "etbench"
FOUR = ("a red car", "a blue boat", "two dogs", "an old tree")


@functools.cache
def load(name):
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


@functools.cache
def likeness():
    """One for all tests: what it has encoded once it knows."""
    return SentenceLikeness(SentenceEncoder())


def key(entry):
    return entry["task"], entry["source"], entry["idx"]


def fixture_answers(*tasks):
    """Every prediction of some tasks, with what the official functions made of it alone."""
    expected = {key(entry): entry for entry in load("per_sample.json")}
    return [
        (Answered(Sample.model_validate(entry), entry["a"]), expected[key(entry)])
        for entry in load("predictions.json")
        if entry["task"] in tasks
    ]


def answered(task, answer, idx=0, source="made_up", **fields):
    if task in ("rar", "eca", "rvq", "gvq"):
        fields = {"p": 1, "o": FOUR, **fields}
    fields.setdefault("video", f"{source}/{task}_{idx}.mp4")
    sample = Sample.model_validate({"task": task, "source": source, "idx": idx, **fields})
    return Answered(sample, answer)


def figures(*given):
    """Of answers to one task of one source."""
    by_source = score(given, likeness()).by_task_source
    ((sources),) = by_source.values()
    ((found),) = sources.values()
    return found
