"""WorkerSetup: what a process needs to play for a run in, its model and its player out."""

from dataclasses import dataclass

import torch

from eval.play.contender import Contender
from eval.play.interview import PlayedAnswer
from eval.play.plan import Play
from eval.play.player import Known, Player, Watched
from eval.play.settings import PlaySettings
from eval.run.worker_pool import Tell, Work
from vstream import VideoLLM, load_video_llm


@dataclass(frozen=True)
class Task:
    """A play, and contenders that agree in what they play."""

    play: Play
    contenders: tuple[Contender, ...]
    known: Known


Told = PlayedAnswer | tuple[Task, Watched]


@dataclass(frozen=True)
class WorkerSetup:
    """Plain data. `sample_fps` None is what the model recommends."""

    settings: PlaySettings
    sample_fps: float | None
    threads: int

    def load(self, device: str) -> VideoLLM:
        """The run's model, on this device."""
        torch.set_num_threads(self.threads)
        config = self.settings.config
        return load_video_llm(config.model, device, config.dtype, self.sample_fps)

    def begin(self, device: str) -> Work[Task, Told]:
        """What a worker does, with a model of its own."""
        return self.work(self.load(device))

    def work(self, model: VideoLLM) -> Work[Task, Told]:
        """The same with this model."""

        def play(task: Task, tell: Tell[Told]) -> None:
            player = Player(model, self.settings, tell)
            watched = player.play(task.play, task.contenders, task.known)
            if watched is not None:
                tell((task, watched))

        return play
