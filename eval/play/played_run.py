"""played_run: plays a benchmark's questions into a run directory that holds all answers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch

from eval.play.contender import parse_contenders
from eval.play.options import EMBEDDED, Convention, PlayOptions
from eval.play.play_all import WorkerSetup, play_all, require_fit, tasks_of
from eval.play.plays import VideoQuestion, plan
from eval.play.records import Records
from eval.play.settings import PlaySettings
from eval.run.cost import write_costs
from eval.run.run_directory import RunDirectory
from eval.run.worker_pool import devices_of
from vstream import VideoLLM, load_config

Item = TypeVar("Item")


def chosen(items: Sequence[Item], options: PlayOptions) -> list[Item]:
    """Return all items, the first `limit`, or with a seed a random `limit`; in their own order."""
    if options.limit is None or options.limit >= len(items):
        return list(items)
    if options.seed is None:
        return list(items[: options.limit])
    numbers = Random(options.seed).sample(range(len(items)), options.limit)
    return [items[number] for number in sorted(numbers)]


def play_run(
    benchmark: str, asked: Sequence[VideoQuestion], options: PlayOptions, convention: Convention
) -> Records:
    """Play everything not on record. Raises SettingsError, ModelError and OSError."""
    seeks = any(one.sought is not None for one in asked)
    path, contenders = options.directory, parse_contenders(options.contenders, seeks=seeks)
    setup = _setup(options, convention)
    model = setup.load(devices_of(setup.settings.config.device, options.workers)[0])
    plays = plan(asked)
    for contender in contenders:
        require_fit(contender, setup.settings, model, num_frames=0)
    for system in {play.system for play in plays}:
        model.with_system(system)
    with RunDirectory(path, _described(benchmark, asked, options, setup, model)) as directory:
        records = Records(directory, contenders)
        tasks = tasks_of(plays, contenders, records.known, setup.settings, model)
        here = setup.work(model) if options.workers == 1 else None
        del model  # each worker has its own
        play_all(tasks, records, setup, here, options.workers)
        write_costs(path, records.costs)
    return records


def _setup(options: PlayOptions, convention: Convention) -> WorkerSetup:
    name = None if options.model == EMBEDDED else options.model
    sample_fps = options.fps or convention.sample_fps
    source = {"sample_fps": sample_fps, "dedup_threshold": options.dedup}
    named = {} if name is None else {"model": name}
    config = load_config(**named, device=options.device, source=source)
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
    asked: Sequence[VideoQuestion],
    options: PlayOptions,
    setup: WorkerSetup,
    model: VideoLLM,
) -> dict[str, Any]:
    """Return what must agree for answers to belong to one run; policies may be added later."""
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
