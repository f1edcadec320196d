"""played_run: a benchmark's questions and options in, a run directory with all answers out."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch

from eval.play.answer_file import AnswerFile, answer_files
from eval.play.asked import Asked
from eval.play.contender import Contender, parse_contenders
from eval.play.interview import PlayedAnswer
from eval.play.options import EMBEDDED, Convention, PlayOptions
from eval.play.plan import Play, plan
from eval.play.player import Watched
from eval.play.settings import PlaySettings
from eval.play.worker_setup import Task, Told, WorkerSetup
from eval.progress import progress_bar
from eval.run.cost import Cost, write_costs
from eval.run.record_file import RecordFile
from eval.run.run_directory import RunDirectory
from eval.run.worker_pool import devices_of, work_in_processes
from eval.stream_benchmark.policy import require_fit
from vstream import VideoLLM, load_config

Item = TypeVar("Item")

_ANSWERS = "answers"
_KEEP_LESS = ("window", "sinks", "captions")
"""Policies that need only a part of the blocks that the session keeps."""
_COSTS = "watched"


@dataclass(frozen=True)
class PlayedRun:
    """`answers` of each contender that is on record, also of an earlier start, by question.

    `paths` are prediction files.
    """

    directory: Path
    answers: dict[str, dict[str, dict[str, Any]]]
    paths: dict[str, Path]

    @property
    def summary(self) -> str:
        """Where it lies, and, a line for each contender, what could not be had and why."""
        lines = [f"answers, records and what was run: {self.directory}"]
        for name, documents in self.answers.items():
            why = [said["error"] for one in documents.values() for said in one["said"]]
            errors = Counter(error for error in why if error)
            if errors:
                [(most, times)] = errors.most_common(1)
                lines.append(
                    f"warning: {name}: {sum(errors.values())} texts could not be had; "
                    f"{times} times: {most}"
                )
        return "\n".join(lines)

    @property
    def failures(self) -> dict[str, int]:
        """By contender, how many questions have a text that could not be had."""
        return {
            name: sum(None in document["texts"] for document in documents.values())
            for name, documents in self.answers.items()
        }


def chosen(items: Sequence[Item], options: PlayOptions) -> list[Item]:
    """All, the first `limit`, or with a seed as many drawn by it; in the benchmark's order."""
    if options.limit is None or options.limit >= len(items):
        return list(items)
    if options.seed is None:
        return list(items[: options.limit])
    numbers = Random(options.seed).sample(range(len(items)), options.limit)
    return [items[number] for number in sorted(numbers)]


def play_run(
    benchmark: str, asked: Sequence[Asked], options: PlayOptions, convention: Convention
) -> PlayedRun:
    """Play all that is not on record. Raises SettingsError, ModelError and OSError."""
    contenders = parse_contenders(options.policy)
    setup = _setup(options, convention)
    devices = devices_of(setup.settings.config.device, options.workers)
    model = setup.load(devices[0])
    plays = plan(asked)
    for contender in contenders:
        if contender.policy is not None:
            require_fit(contender.policy, model, num_frames=0)
    for system in {play.system for play in plays}:
        model.with_system(system)
    described = _described(benchmark, asked, options, setup, model)
    with RunDirectory(options.out, described) as directory:
        folder = directory.path / _ANSWERS
        folder.mkdir(exist_ok=True)
        files = {one.name: AnswerFile(folder / f"{one.name}.jsonl") for one in contenders}
        files = {**files, **answer_files(folder)}
        costs = directory.records(_COSTS)
        tasks = _tasks(plays, contenders, files)
        with progress_bar() as progress:
            bar = progress.add_task("asking", total=len(asked) * len(contenders))
            progress.advance(bar, sum(_num_known(asked, files[c.name]) for c in contenders))

            def tell(told: Told) -> None:
                if isinstance(told, PlayedAnswer):
                    files[told.policy].append(told)
                    progress.advance(bar)
                else:
                    _keep_costs(costs, *told)

            if options.workers == 1:
                play = setup.work(model)
                for task in tasks:
                    play(task, tell)
            else:
                del model  # each worker has its own
                work_in_processes(setup.begin, devices, tasks, tell)
        write_costs(directory.path, [Cost(**document) for document in costs.documents])
    return PlayedRun(
        options.out,
        {name: file.documents for name, file in files.items()},
        {name: file.path for name, file in files.items()},
    )


def _setup(options: PlayOptions, convention: Convention) -> WorkerSetup:
    name = None if options.model == EMBEDDED else options.model
    sample_fps = options.fps or convention.sample_fps
    config = load_config(
        **({"model": name} if name else {}),
        device=options.device,
        source={"sample_fps": sample_fps, "dedup_threshold": options.dedup},
    )
    settings = PlaySettings(
        config.model_copy(update={"model": name}),
        options.max_tokens or convention.max_tokens,
        options.temperature,
        options.seed or 0,
    )
    threads = config.threads or max(1, torch.get_num_threads() // options.workers)
    return WorkerSetup(settings, sample_fps, threads)


def _described(
    benchmark: str,
    asked: Sequence[Asked],
    options: PlayOptions,
    setup: WorkerSetup,
    model: VideoLLM,
) -> dict[str, Any]:
    """All that must agree for answers to belong to one run; policies may be added to it."""
    words = [(one.id, [(s.start_s, s.end_s) for s in one.spans], one.prompt) for one in asked]
    source = setup.settings.config.source
    return {
        "benchmark": benchmark,
        "questions": len(asked),
        "asked": hashlib.sha256(repr(words).encode()).hexdigest()[:16],
        "limit": options.limit,
        "seed": options.seed,
        "model": model.fingerprint,
        "model_name": Path(model.name).name,
        "dtype": str(model.decoder.dtype),
        "sample_fps": model.sample_fps,
        "dedup_threshold": source.dedup_threshold,
        "host_bytes": setup.settings.config.memory.host_bytes,
        "max_side": source.max_side,
        "max_tokens": setup.settings.max_tokens,
        "temperature": setup.settings.temperature,
    }


def _tasks(
    plays: Sequence[Play], contenders: Sequence[Contender], files: dict[str, AnswerFile]
) -> list[Task]:
    """Those in which something is left to be asked."""
    found = []
    for play in plays:
        together: dict[str, list[Contender]] = {}
        for contender in contenders:
            together.setdefault(contender.plays, []).append(contender)
        for several in together.values():
            known = {
                one.name: frozenset(
                    asked.id for asked in play.asked if asked.id in files[one.name].documents
                )
                for one in several
            }
            if any(len(ids) < len(play.asked) for ids in known.values()):
                found.append(Task(play, tuple(several), known))
    return found


def _keep_costs(costs: RecordFile, task: Task, watched: Watched) -> None:
    """Contenders that share a session each have what it took; not all need all that it keeps."""
    for contender in task.contenders:
        cost = Cost(contender.name, task.play.video.name, **asdict(watched))
        if contender.policy is not None and contender.policy.base in _KEEP_LESS:
            cost = replace(cost, num_bytes=None)
        costs.append(asdict(cost))


def _num_known(asked: Sequence[Asked], file: AnswerFile) -> int:
    return sum(one.id in file.documents for one in asked)
