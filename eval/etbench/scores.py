"""Scores answers: the figures of every task and source, and the merged numbers."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.etbench.caption_score import caption_score
from eval.etbench.option_score import option_score
from eval.etbench.sample import CHOICE_TASKS, Answered, Figures, Task
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.etbench.time_scores import (
    action_score,
    first_span_score,
    grounded_answer_score,
    moment_score,
    similar_moment_score,
    summary_score,
)

_SCORES: Mapping[Task, Callable[[Sequence[Answered]], Figures]] = {
    "tvg": first_span_score,
    "epm": first_span_score,
    "tal": action_score,
    "evs": summary_score,
    "vhd": moment_score,
    "tem": similar_moment_score,
}
_SCORES_BY_LIKENESS: Mapping[Task, Callable[[Sequence[Answered], SentenceLikeness], Figures]] = {
    **dict.fromkeys(CHOICE_TASKS, option_score),
    "gvq": grounded_answer_score,
    **dict.fromkeys(("dvc", "slc"), caption_score),
}

OVERALL: Mapping[str, tuple[Task, str]] = {
    "RAR_Acc": ("rar", "Acc"),
    "ECA_Acc": ("eca", "Acc"),
    "RVQ_Acc": ("rvq", "Acc"),
    "TVG_F1": ("tvg", "F1"),
    "EPM_F1": ("epm", "F1"),
    "TAL_F1": ("tal", "F1"),
    "EVS_F1": ("evs", "F1"),
    "VHD_F1": ("vhd", "F1"),
    "DVC_F1": ("dvc", "F1"),
    "DVC_Sim": ("dvc", "SentSim"),
    "SLC_F1": ("slc", "F1"),
    "SLC_Sim": ("slc", "SentSim"),
    "TEM_Rec": ("tem", "mRec"),
    "GVQ_Rec": ("gvq", "mRec"),
}
"""Name -> a task and its figure, averaged over sources."""

MERGED: Mapping[str, tuple[str, ...]] = {
    "Acc_ref": ("RAR_Acc", "ECA_Acc", "RVQ_Acc"),
    "F1_gnd": ("TVG_F1", "EPM_F1", "TAL_F1", "EVS_F1", "VHD_F1"),
    "F1_cap": ("DVC_F1", "SLC_F1"),
    "Sim_cap": ("DVC_Sim", "SLC_Sim"),
    "Rec_com": ("TEM_Rec", "GVQ_Rec"),
}
"""Name -> the numbers of OVERALL whose mean it is, in percent."""


@dataclass(frozen=True)
class Scores:
    """By the official scorer's names; a number without samples is None."""

    by_task_source: dict[str, dict[str, Figures]]
    overall: dict[str, float | None]
    merged: dict[str, float | None]
    num_unanswered: int
    """Annotated samples without an answer; as in the official scorer, they do not count."""

    def document(self) -> dict[str, object]:
        return {
            "merged_unrounded": self.merged,
            "overall": self.overall,
            "by_task_source": self.by_task_source,
            "unanswered": self.num_unanswered,
        }


def score(
    answered: Sequence[Answered], likeness: SentenceLikeness, num_unanswered: int = 0
) -> Scores:
    """Figures are rounded to five decimals before they are merged, as officially."""
    groups: dict[Task, dict[str, list[Answered]]] = {}
    for one in answered:
        sources = groups.setdefault(one.sample.task, {})
        sources.setdefault(one.sample.source, []).append(one)
    figures: dict[str, dict[str, Figures]] = {
        task: {source: _figures(task, group, likeness) for source, group in sources.items()}
        for task, sources in groups.items()
    }
    overall = {
        name: _mean([found[figure] for found in figures.get(task, {}).values()], 1, 5)
        for name, (task, figure) in OVERALL.items()
    }
    merged = {
        name: _mean([overall[part] for part in parts], 100, 6) for name, parts in MERGED.items()
    }
    return Scores(figures, overall, merged, num_unanswered)


def _figures(task: Task, answered: Sequence[Answered], likeness: SentenceLikeness) -> Figures:
    if task in _SCORES:
        found = _SCORES[task](answered)
    else:
        found = _SCORES_BY_LIKENESS[task](answered, likeness)
    return {
        name: value if value is None or isinstance(value, int) else round(float(value), 5)
        for name, value in found.items()
    }


def _mean(numbers: Sequence[float | None], scale: float, digits: int) -> float | None:
    known = [number for number in numbers if number is not None]
    if not known or len(known) < len(numbers):
        return None
    return round(scale * statistics.fmean(known), digits)
