"""play_all: plays what is not on record, in this process or several, and keeps all answers."""

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch

from eval.command_line import progress_bar
from eval.play.contender import Contender
from eval.play.player import Player, Task
from eval.play.plays import Play, pictures_of
from eval.play.records import ANSWERS, RecordLine, Records
from eval.play.settings import PlaySettings
from eval.run.worker_pool import Work, devices_of, work_in_processes
from vstream import SettingsError, VideoLLM, load_video_llm
from vstream.engine import Decoder

_BF16_BYTES = 2


@dataclass(frozen=True)
class WorkerSetup:
    """What a process needs to play for a run. `sample_fps` None is the model's recommendation."""

    settings: PlaySettings
    sample_fps: float | None
    threads: int

    def load(self, device: str) -> VideoLLM:
        torch.set_num_threads(self.threads)
        config = self.settings.config
        return load_video_llm(config.model, device, config.dtype, self.sample_fps)

    def begin(self, device: str) -> Work[Task, RecordLine]:
        """Return a worker's job, with its own model."""
        return self.work(self.load(device))

    def work(self, model: VideoLLM) -> Work[Task, RecordLine]:
        return lambda task, report: Player(model, self.settings, report).play(task)


def play_all(
    tasks: Sequence[Task],
    records: Records,
    setup: WorkerSetup,
    here: Work[Task, RecordLine] | None,
    num_workers: int,
) -> None:
    """Play by `here` in this process, else in processes that each load a model."""
    folder = setup.settings.folder
    if folder is not None:  # left by a killed run
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with progress_bar() as progress:
        bar = progress.add_task("asking", total=sum(task.num_left for task in tasks))

        def report(line: RecordLine) -> None:
            records.take(line)
            progress.advance(bar, line[0].startswith(ANSWERS))

        if here is None:
            devices = devices_of(setup.settings.config.device, num_workers)
            work_in_processes(setup.begin, devices, tasks, report)
            return
        for task in tasks:
            here(task, report)


def require_fit(
    contender: Contender, settings: PlaySettings, model: VideoLLM, num_frames: int
) -> None:
    """Raise PolicyError or SettingsError if the model cannot follow it over that many frames."""
    policy = settings.policy(contender, model)
    if not contender.is_watching or policy.encoding().window_blocks:
        return
    needed = policy.shape.block_tokens() * num_frames // model.family.frames_per_block
    if needed > model.decoder.max_positions:
        raise SettingsError(
            f"contender: {contender.name} needs {needed} positions for {num_frames} frames, the "
            f"model has {model.decoder.max_positions}: leave it out or play shorter streams"
        )


def tasks_of(
    plays: Sequence[Play],
    contenders: Sequence[Contender],
    known: Callable[[Contender], Collection[str]],
    settings: PlaySettings,
    model: VideoLLM,
) -> list[Task]:
    """Return the tasks with questions left, if those with the `known` ids are on record; contenders
    that read the same blocks share one. Raises SettingsError for a budget too small to be kept.
    """
    together: dict[object, list[Contender]] = {}
    for contender in contenders:
        key = contender.shares(settings.policy(contender, model))
        together.setdefault(key, []).append(contender)
    found = []
    for first, *others in together.values():
        budget_bytes = None
        if first.budget is not None:  # the same for every stream, set by the longest
            most = max(raw_bytes(play, model, settings) for play in plays)
            budget_bytes = int(first.budget * most)
            settings.configured(first, budget_bytes)
        on_record = {one.name: known(one) for one in (first, *others)}
        found += [Task(play, (first, *others), on_record, budget_bytes) for play in plays]
    return [task for task in found if task.num_left]


def raw_bytes(play: Play, model: VideoLLM, settings: PlaySettings) -> int:
    """Estimate the bf16 keys and values of the whole video from its first block."""
    size, decoder = model.family.frames_per_block, model.decoder
    with pictures_of(play.video, settings.config.source) as pictures:
        seconds = [play.from_s + i / model.sample_fps for i in range(size)]
        frames = pictures.frames_at(seconds)
        num_blocks = int((pictures.duration_s - play.from_s) * model.sample_fps) // size
    with model.turn, torch.inference_mode():
        num_tokens = len(model.family.encode([frames])[0].embeddings)
    return kv_bytes(decoder, num_blocks * num_tokens)


def kv_bytes(decoder: Decoder, num_tokens: int) -> int:
    """Return the bytes of so many tokens' keys and values in all layers, as bf16."""
    return num_tokens * 2 * decoder.num_layers * decoder.kv_heads * decoder.head_dim * _BF16_BYTES
