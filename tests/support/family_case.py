"""FamilyCase: what the tests that run over all families need to know of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from eval.random_model.checkpoint_files import CheckpointFiles


@dataclass(frozen=True, kw_only=True)
class FamilyCase:
    """Each family's stands as CASE in `tests/encoders/families/test_<family>.py`."""

    files: CheckpointFiles
    """Of a tiny checkpoint."""
    config: Callable[[dict[str, Any]], Any]
    """The decoder's settings in, the config of a tiny model out."""
    whole_video: Callable[[Any, Any], Any]
    """A model and normalised frames in, what transformers makes of them in one call out."""
    side: int
    """Frames of this size need no resizing."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    frames_per_block: int = 1
    axes: int = 1
    """Of rotary positions."""

    prefix: str
    question: str
    """The golden prompt around the frames, with "{}" for the question's words."""
    answered: str
    """What follows an earlier question: its answer at "{}", and the start of the next one."""
    before_answer: str = ""
    """With what the template opens an answer, where it is not what a model answers after."""
    with_system: str
    """The prefix with a system prompt at "{}"."""
    video: str
    """As what the template shows the video."""
    around_video: tuple[str, str] = ("", "")
    """What the family itself writes before and after the frames."""
    template: str | None = None
    """By which transformers renders, where its tokenizer does not find it or does not ask it."""
    rows_before_question: int = 0
    """That are no words."""
    is_cased: bool = True
    """Whether its tokenizer tells "A" from "a"."""
