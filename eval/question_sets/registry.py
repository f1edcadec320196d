"""The published question sets by name."""

from collections.abc import Callable

from eval.question_sets.benchmark import Benchmark
from eval.question_sets.choice_sets import Mlvu, QaEgo4d, VideoMme
from eval.question_sets.judging import Judging
from eval.question_sets.ovo_bench import OvoBench
from eval.question_sets.streaming_bench import StreamingBench
from eval.question_sets.vstream_qa import SUBSETS, VStreamQa
from vstream import SettingsError

_BY_RULE: dict[str, Callable[[], Benchmark]] = {
    "mlvu": Mlvu,
    "ovo-bench": OvoBench,
    "qaego4d": QaEgo4d,
    "streaming-bench": StreamingBench,
    "streaming-bench-all-context": lambda: StreamingBench(context_s=None),
    "video-mme": VideoMme,
}
NAMES = tuple(sorted((*_BY_RULE, *SUBSETS)))


def make_benchmark(name: str, judging: Judging | None = None) -> Benchmark:
    """`judging` is what sets with open answers need to score. Raises SettingsError for no set."""
    if name in SUBSETS:
        return VStreamQa(name, judging)
    if name not in _BY_RULE:
        raise SettingsError(f"benchmark: there is no {name!r}; choose of {', '.join(NAMES)}")
    return _BY_RULE[name]()
