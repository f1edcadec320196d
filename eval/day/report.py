"""Report: what came of the day in each memory in, a JSON document and a page of tables out."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from eval.day.day_exam import AGES_S
from eval.day.replay import Replayed
from eval.run.evidence_age import age_of
from eval.stream_benchmark.figures import Accuracy, accuracy, by_age, mean_recall
from eval.stream_benchmark.record import Record

FLAT_FROM_SHARE = 0.25
"""Resident memory is looked at from here on: by then every budget is full."""


def document(described: dict[str, Any], found: Sequence[Replayed]) -> dict[str, Any]:
    """The stream, then under `memories` each place of blocks, under `answers` each way to ask."""
    return {
        **described,
        "memories": {replayed.name: _memory(replayed) for replayed in found},
        "answers": {
            name: _answers(replayed, name) for replayed in found for name in replayed.answers
        },
    }


def _memory(replayed: Replayed) -> dict[str, Any]:
    budget, peaks = replayed.budget_bytes, replayed.peaks
    return {
        "budget_bytes": budget,
        "file_budget_bytes": replayed.file_budget_bytes,
        "host_budget_bytes": replayed.host_budget_bytes,
        "most_file_bytes": replayed.most_file_bytes,
        "most_host_bytes": replayed.most_host_bytes,
        "peaks": peaks,
        "is_within_budget": _is_within_budget(replayed),
        "rss_growth": _rss_growth(replayed),
        "ageing": replayed.ageing,
        "kept_by_age": {age: _rounded(s, 4) for age, s in replayed.kept_by_age.items()},
        "caption_bytes": replayed.caption_bytes,
        "samples": replayed.samples,
    }


def _is_within_budget(replayed: Replayed) -> bool | None:
    """By the memory's own count after every block, and by the files that were seen in between."""
    if replayed.file_budget_bytes is None:
        return None
    files = max(replayed.most_file_bytes, replayed.peaks["file_bytes"])
    return (
        files <= replayed.file_budget_bytes
        and replayed.most_host_bytes <= replayed.host_budget_bytes
    )


def _rss_growth(replayed: Replayed) -> float | None:
    """Most resident memory in the later part over that at its start; None for too few hours."""
    later = replayed.samples[int(FLAT_FROM_SHARE * len(replayed.samples)) :]
    if len(replayed.samples) < 4:
        return None
    rss: list[int] = [sample["rss_bytes"] for sample in later]
    return round(max(rss) / rss[0], 4)


def _answers(replayed: Replayed, name: str) -> dict[str, Any]:
    records = [Record.from_json(line) for line in replayed.answers[name]]
    kinds = sorted({record.kind for record in records})
    first_tokens = {
        at_s: round(statistics.median(times), 2)
        for at_s, times in replayed.first_tokens_ms[name].items()
    }
    first, *_, last = [*first_tokens.values(), *first_tokens.values()]
    recall = mean_recall(records)
    held: dict[str, list[float]] = {age: [] for age in AGES_S}
    for record, share in zip(records, replayed.held, strict=True):
        held[str(age_of(record.evidence_age_s, AGES_S))].append(share)
    return {
        "memory": replayed.name,
        "by_age": {age: _accuracy(a) for age, a in by_age(records, AGES_S).items()},
        "all": _accuracy(accuracy(records)),
        "by_kind": {k: _accuracy(accuracy([r for r in records if r.kind == k])) for k in kinds},
        "evidence_held": {
            age: round(statistics.fmean(shares), 3) if shares else None
            for age, shares in held.items()
        },
        "recall": None if recall is None else round(statistics.fmean(recall), 3),
        "first_token_ms": first_tokens,
        "first_token_ratio": round(last / first, 3),
        "first_token_questions": min(map(len, replayed.first_tokens_ms[name].values())),
        "questions": len(records),
    }


def _accuracy(found: Accuracy | None) -> dict[str, float] | None:
    """With the standard error that independent questions would have: there is one stream only."""
    if found is None:
        return None
    share = found.percent / 100
    stderr = 100 * math.sqrt(share * (1 - share) / found.num_questions)
    return {
        "percent": round(found.percent, 1),
        "stderr": round(stderr, 1),
        "n": found.num_questions,
    }


def page(found: dict[str, Any]) -> str:
    """The document as Markdown."""
    hours = found["length_s"] / 3600
    lines = [
        f"# {hours:g} h of stream, {found['raw_bytes'] / 1e6:.0f} MB as bf16 keys and values",
        "",
        f"Seed {found['seed']}, one frame a second, {found['blocks']} blocks with "
        f"{found['tokens'] / found['whole_tokens']:.0%} of their tokens left after dropping; total "
        f"budget {found['budget_share']:.3g} of the raw bytes: {found['budget_bytes'] / 1e6:.1f} "
        "MB.",
    ]
    for name, memory in found["memories"].items():
        lines += ["", f"## Memory: {name}", "", *_memory_lines(memory)]
    lines += ["", "## Answers", "", *_answer_lines(found["answers"])]
    return "\n".join(lines) + "\n"


def _memory_lines(memory: dict[str, Any]) -> list[str]:
    peaks = memory["peaks"]
    budget = memory["file_budget_bytes"]
    bound = "without a budget" if budget is None else f"budget {_mb(budget)} MB"
    said = {None: "There is no budget to exceed.", True: "No budget was exceeded.", False: ""}
    return [
        f"Files: {bound}, at most {_mb(memory['most_file_bytes'])} MB by its own count after each "
        f"block; in {peaks['num_looks']} looks at the folder at most "
        f"{_mb(peaks['file_bytes'])} MB, which took up {_mb(peaks['disk_bytes'])} MB on disk. "
        f"Host RAM: budget {_mb(memory['host_budget_bytes'])} MB, at most "
        f"{_mb(memory['most_host_bytes'])} MB. "
        f"{said[memory['is_within_budget']] or '**A budget was exceeded.**'}",
        "",
        f"Blocks coarsened {memory['ageing']['coarsened']}, thinned {memory['ageing']['thinned']}, "
        f"dropped {memory['ageing']['dropped']}. Frames that still have a block, by age: "
        + ", ".join(f"{age} {_percent(share)}" for age, share in memory["kept_by_age"].items())
        + f". Resident memory at its most over that after a quarter: {memory['rss_growth']}. "
        + f"Captions {_mb(memory['caption_bytes'])} MB.",
        "",
        "| hour | blocks | int8 | int4 | files, MB | host, MB | index, MB | resident, MB |",
        "|---|---|---|---|---|---|---|---|",
        *(_sample_line(sample) for sample in memory["samples"]),
    ]


def _sample_line(sample: dict[str, Any]) -> str:
    codecs = sample["blocks_by_codec"]
    return (
        f"| {sample['at_s'] / 3600:.3g} | {sample['blocks']} | {codecs.get('int8', 0)} | "
        f"{codecs.get('int4', 0)} | {_mb(sample['file_bytes'])} | {_mb(sample['host_bytes'])} | "
        f"{_mb(sample['index_bytes'])} | {sample['rss_bytes'] / 1e6:.0f} |"
    )


def _answer_lines(answers: dict[str, Any]) -> list[str]:
    def row(title: str, cells: Sequence[str]) -> str:
        return f"| {title} | " + " | ".join(cells) + " |"

    every = list(answers.values())
    kinds = sorted({kind for one in every for kind in one["by_kind"]})
    lines = [row("percent right", list(answers)), "|---" * (len(every) + 1) + "|"]
    lines += [row(age, [_right(one["by_age"][age]) for one in every]) for age in AGES_S]
    lines.append(row("all", [_right(one["all"]) for one in every]))
    lines += [row(kind, [_right(one["by_kind"].get(kind)) for one in every]) for kind in kinds]
    lines += [
        row(f"evidence still kept, {age}", [_percent(one["evidence_held"][age]) for one in every])
        for age in AGES_S
    ]
    lines.append(row("evidence read, mean over layers", [_percent(o["recall"]) for o in every]))
    for at_s in every[0]["first_token_ms"]:
        cells = [f"{one['first_token_ms'][at_s]:.1f}" for one in every]
        lines.append(row(f"first token at {int(at_s) / 3600:.3g} h, ms", cells))
    lines.append(row("ratio", [f"{one['first_token_ratio']:.2f}" for one in every]))
    return lines


def _right(found: dict[str, float] | None) -> str:
    return "-" if found is None else f"{found['percent']} ± {found['stderr']} ({found['n']})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f}"


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
