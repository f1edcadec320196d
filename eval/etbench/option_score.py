"""Option score: answers to rar, eca or rvq of one source in, how many pick the right option out."""

from collections.abc import Sequence

from eval.etbench.answer_option import PickedOption, num_letters, pick_option
from eval.etbench.rules import Figures, Rules
from eval.etbench.sample import Answered


def option_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """`Failed` are those that show no letter; they may be right all the same."""
    picked = picked_options(answered, rules)
    right = sum(
        one is not None and one.option == sample.p
        for one, (sample, _) in zip(picked, answered, strict=True)
    )
    failed = sum(one is None or not one.has_letter for one in picked)
    return {"Total": len(answered), "Failed": failed, "Acc": right / len(answered)}


def picked_options(answered: Sequence[Answered], rules: Rules) -> list[PickedOption | None]:
    """With the letters of the first sample for all; None for what the official scorer ends on."""
    first = next((len(sample.o) for sample, _ in answered if len(sample.o) in (4, 5)), 0)

    def pick(one: Answered) -> PickedOption:
        num_letters(one.sample)
        return pick_option(one.sample, one.answer, first, rules.likeness, rules.mends)

    return [rules.read(one.sample, pick, one) for one in answered]
