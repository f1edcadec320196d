"""Sample: one annotated item of E.T. Bench, validated, with its times in one form."""

from string import ascii_uppercase
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Task = Literal["rar", "eca", "rvq", "tvg", "epm", "tal", "evs", "vhd", "dvc", "slc", "tem", "gvq"]
TASKS: tuple[Task, ...] = get_args(Task)
CHOICE_TASKS: tuple[Task, ...] = ("rar", "eca", "rvq")
"""Tasks with options and no times."""
OPTION_TASKS: frozenset[Task] = frozenset((*CHOICE_TASKS, "gvq"))
CAPTION_TASKS: frozenset[Task] = frozenset(("dvc", "slc"))

Interval = tuple[float, float]

Figures = dict[str, float | None]
"""The figures of one task and source, by their official names."""

Option = str | tuple[int | float, int | float]
"""Text, or a span, rendered with the annotation's own numbers."""


class SampleKey(NamedTuple):
    """`idx` restarts in every task and source."""

    task: str
    source: str
    idx: int

    def __str__(self) -> str:
        return f"{self.task}/{self.source}/{self.idx}"


def _spans(value: Any) -> Any:
    """Return [s, e], [[s, e], ...] or, one list per annotator, [[[s, e], ...], ...] as spans."""
    if not isinstance(value, list) or not value:
        return value
    if not any(isinstance(inner, list) for inner in value):
        return [value]
    if any(isinstance(inner, list) and any(isinstance(i, list) for i in inner) for inner in value):
        return [span for inner in value for span in (inner if isinstance(inner, list) else [inner])]
    return value


class Keyed(BaseModel):
    """The fields of every entry in official files that an answer is joined by."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: str
    source: str
    idx: int

    @property
    def key(self) -> SampleKey:
        return SampleKey(self.task, self.source, self.idx)


class Prediction(Keyed):
    """The fields read from a prediction file's entry: the key and `a`, of any type."""

    a: Any = None


class Sample(Keyed):
    """The official fields, without `version` and `src`."""

    task: Task
    video: str = ""
    duration: float = 0.0
    q: str = ""
    p: int | None = Field(None, ge=0)
    o: tuple[Option, ...] = ()
    tgt: Annotated[tuple[Interval, ...], BeforeValidator(_spans)] = ()
    g: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_what_its_task_needs(self) -> Self:
        if self.task in OPTION_TASKS and (self.p is None or self.p >= len(self.o)):
            raise ValueError(f"{self.key}: `p` must be the place of one of the options `o`")
        if self.task not in CHOICE_TASKS and not self.tgt:
            raise ValueError(f"{self.key}: `tgt` is missing")
        if self.task in CAPTION_TASKS and len(self.g) != len(self.tgt):
            raise ValueError(f"{self.key}: `g` must have one caption for each time of `tgt`")
        return self

    @property
    def option_texts(self) -> tuple[str, ...]:
        """`(A) ...`, `(B) ...`, as the question shows them."""
        texts = (one if isinstance(one, str) else f"{one[0]} - {one[1]}" for one in self.o)
        return tuple(
            f"({letter}) {text}" for letter, text in zip(ascii_uppercase, texts, strict=False)
        )


class Answered(NamedTuple):
    """A sample with a model's raw answer; anything but text has failed."""

    sample: Sample
    answer: Any
