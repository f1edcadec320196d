"""WorkerSetup: what a process needs to play streams of a run in, its model and blocks out.

A stream belongs to one worker, which alone writes its records and blocks.
"""

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from eval.run.worker_pool import Tell, Work
from eval.stream_benchmark.exam import ExamOptions
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_benchmark.stream_play import StreamPlay, StreamTask
from eval.stream_world import Renderer
from vstream import VideoLLM, VStreamConfig, load_video_llm

Progress = tuple[str, int]
"""What is being done, and how many steps of it have been done since this was last told."""
_WORTH_A_WORKER_S = 300
"""Of stream for each process."""


@dataclass(frozen=True)
class WorkerSetup:
    """Plain data."""

    run: Path
    config: VStreamConfig
    frame_px: int
    threads: int

    def load(self, device: str) -> VideoLLM:
        """The run's model, on this device."""
        torch.set_num_threads(self.threads)
        return load_video_llm(self.config.model, device, self.config.dtype, sample_fps=1.0)

    def blocks(self, model: VideoLLM) -> StreamBlocks:
        return StreamBlocks(self.run, model, self.config, Renderer(self.frame_px))

    def begin(self, device: str) -> Work[StreamTask, Progress]:
        """What a worker does, with a model of its own."""
        blocks = self.blocks(self.load(device))

        def play(task: StreamTask, tell: Tell[Progress]) -> None:
            StreamPlay(task, self.run, blocks).run(lambda *progress: tell(progress))

        return play


def default_workers(model: VideoLLM, options: ExamOptions) -> int:
    """How many processes, where nobody says: on a CPU a small model is faster in two processes of
    one thread than in one of two, but each loads it first.
    """
    if model.family.name != "embedded" or model.decoder.device.type != "cpu":
        return 1
    of_minutes = options.num_streams * options.length_s // _WORTH_A_WORKER_S
    return max(1, min(psutil.cpu_count(logical=False) or 1, of_minutes))
