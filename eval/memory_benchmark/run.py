"""run_memory: plays streams to contenders and reports on everything on record; a killed run
resumes.

It plays one stream at a time, to all contenders at once, and keeps the results of finished ones; an
interrupted stream is played again, from tokens that already exist.
"""

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from eval.command_line import progress_bar
from eval.memory_benchmark.ablations import ABLATIONS
from eval.memory_benchmark.kept_tokens import KeptTokens
from eval.memory_benchmark.play import Kept, Said, play_stream, policy_of
from eval.memory_benchmark.report import write_memory_report
from eval.play.contender import ALL, Contender, parse_contenders
from eval.play.settings import PlaySettings
from eval.run.run_directory import RunDirectory
from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam, exam_digest
from eval.stream_benchmark.run import FRAME_PX
from eval.stream_benchmark.world_video import WorldVideo
from eval.stream_world import WORLD_PX, Renderer
from memory.policies import POLICIES
from vstream import SettingsError, VideoLLM, VStreamConfig, load_video_llm
from vstream.device.cpu_threads import choose_cpu_threads

REFERENCE = "policy=default,codec=exact"


@dataclass(frozen=True)
class _Run:
    directory: RunDirectory
    settings: PlaySettings
    model: VideoLLM
    contenders: Sequence[Contender]
    frame_px: int

    def kept(self) -> dict[tuple[str, str], Kept]:
        """Return by stream and contender what was kept; those in it have been played to the end."""
        documents = self.directory.records("kept").documents
        return {(one["stream"], one["contender"]): Kept(**one) for one in documents}

    def tokens(self, stream: ExamStream) -> KeptTokens:
        path = self.directory.path / "tokens" / stream.name
        video = WorldVideo(stream.name, stream.script, self.frame_px)
        tokens = KeptTokens(path, video, self.model)
        if tokens.cpu_s is not None:
            told = {"stream": stream.name, "frames": tokens.num_frames, "cpu_s": tokens.cpu_s}
            self.directory.records("tower").append(told)
        return tokens

    def play(self, stream: ExamStream) -> None:
        """Play to contenders without results yet, and to the reference beside them."""
        reference, *others = self.contenders
        known = self.kept()
        new = [one for one in others if (stream.name, one.name) not in known]
        if not new and (stream.name, reference.name) in known:
            return
        blocks = self.directory.path / "blocks"
        shutil.rmtree(blocks, ignore_errors=True)
        tokens = self.tokens(stream)
        with progress_bar() as progress:
            bar = progress.add_task(stream.name, total=tokens.num_frames)
            who = [reference, *new]
            found = play_stream(
                stream, tokens, who, self.settings, blocks, lambda n: progress.advance(bar, n)
            )
            for said, kept in found:
                if (kept.stream, kept.contender) in known:
                    continue
                records = self.directory.records("said")
                for one in said:
                    records.append(asdict(one))
                self.directory.records("kept").append(asdict(kept), to_disk=True)
        shutil.rmtree(blocks, ignore_errors=True)


def run_memory(
    options: ExamOptions, contenders: Sequence[str], config: VStreamConfig, out: Path | None
) -> tuple[dict[str, Any], str]:
    """Return figures by contender and the report in Markdown. Raises SettingsError, PolicyError."""
    model = load_video_llm(config.model, config.device, config.dtype, sample_fps=1.0)
    options = replace(options, frames_per_block=model.family.frames_per_block)
    if config.threads is None:
        choose_cpu_threads()
    else:
        torch.set_num_threads(config.threads)
    exam = [one for one in draw_exam(options) if one.style == "seen"]
    frame_px = WORLD_PX if model.family.name == "embedded" else FRAME_PX
    digest = exam_digest(exam, Renderer(frame_px))
    dtype = str(model.decoder.dtype).removeprefix("torch.")
    path = out or Path("runs/memory") / f"{options.seed}-{options.length_s}s-{digest}-{dtype}"
    who = chosen(contenders)
    settings = PlaySettings(config, follows_times=True, folder=path / "blocks")
    for one in who:
        policy_of(one, settings, model)
    described = {
        "benchmark": "memory",
        **asdict(options),
        "exam": digest,
        "model": model.fingerprint,
        "model_name": Path(model.name).name,
        "dtype": dtype,
    }
    with RunDirectory(path, described) as directory:
        run = _Run(directory, settings, model, who, frame_px)
        for number, stream in enumerate(exam, start=1):
            run.play(stream)
            documents = write_memory_report(path, exam[:number], *_on_record(run))
    return documents, (path / "report.md").read_text(encoding="utf-8")


def chosen(texts: Sequence[str]) -> list[Contender]:
    """Return the reference, then those named; `policy=all`: every policy. Raises SettingsError."""
    every = [f"policy={name}" for name in POLICIES.names()]
    told = [one for text in texts for one in (every if text == f"policy={ALL}" else [text])]
    reference, *others = parse_contenders([REFERENCE, *told], own=ABLATIONS)
    for one in others:
        if not one.is_watching:
            raise SettingsError(f"contender: {one.name} keeps no memory")
    return [reference, *others]


def _on_record(run: _Run) -> tuple[list[Kept], dict[tuple[str, str], list[Said]], list[float]]:
    """Include contenders of earlier starts, the reference first; and the tower's milliseconds."""
    kept = run.kept()
    said: defaultdict[tuple[str, str], dict[int, Said]] = defaultdict(dict)
    for one in run.directory.records("said").documents:
        recall = one.pop("recall")
        found = Said(**one, recall=None if recall is None else tuple(recall))
        said[found.stream, found.contender][found.number] = found
    tower = run.directory.records("tower").documents
    first = run.contenders[0].name
    ordered = sorted(kept.values(), key=lambda one: one.contender != first)
    return (
        ordered,
        {key: [of[number] for number in sorted(of)] for key, of in said.items() if key in kept},
        [1000 * one["cpu_s"] / one["frames"] for one in tower],
    )
