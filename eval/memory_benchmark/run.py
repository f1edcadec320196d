"""run_memory: plays streams to contenders and reports on everything on record; a killed run
resumes.

It plays one stream at a time, to all contenders at once, and keeps the results of finished ones; an
interrupted stream is played again, from tokens that already exist.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from eval.command_line import progress_bar, use_threads
from eval.memory_benchmark.ablations import ABLATIONS
from eval.memory_benchmark.figures import Document
from eval.memory_benchmark.kept_tokens import KeptTokens
from eval.memory_benchmark.play import play_stream, policy_of
from eval.memory_benchmark.report import write_memory_report
from eval.play.contender import ALL, Contender, parse_contenders
from eval.play.settings import PlaySettings
from eval.run.run_directory import RunDirectory
from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam, exam_digest
from eval.stream_benchmark.world_video import WorldVideo, frame_px_of
from eval.stream_world import Renderer
from memory.policies import POLICIES
from vstream import SettingsError, VideoLLM, VStreamConfig, load_video_llm

REFERENCE = "policy=default,codec=exact"


def run_memory(
    options: ExamOptions, contenders: Sequence[str], config: VStreamConfig, out: Path | None
) -> tuple[dict[str, Any], str]:
    """Return figures by contender and the report in Markdown. Raises SettingsError, PolicyError."""
    model = load_video_llm(config.model, config.device, config.dtype, sample_fps=1.0)
    options = replace(options, frames_per_block=model.family.frames_per_block)
    use_threads(config.threads)
    exam = [one for one in draw_exam(options) if one.style == "seen"]
    digest = exam_digest(exam, Renderer(frame_px_of(model)))
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
        for number, stream in enumerate(exam, start=1):
            _play(directory, stream, who, settings, model)
            told = _on_record(directory, who[0].name)
            documents = write_memory_report(path, exam[:number], *told)
    return documents, (path / "report.md").read_text(encoding="utf-8")


def _play(
    directory: RunDirectory,
    stream: ExamStream,
    contenders: Sequence[Contender],
    settings: PlaySettings,
    model: VideoLLM,
) -> None:
    """Play to contenders without results yet, and to the reference beside them."""
    kept = directory.records("kept")
    known = {one["contender"] for one in kept.documents if one["stream"] == stream.name}
    if known.issuperset(one.name for one in contenders):
        return
    reference, *others = contenders
    who = [reference, *(one for one in others if one.name not in known)]
    blocks = directory.path / "blocks"
    shutil.rmtree(blocks, ignore_errors=True)
    video = WorldVideo(stream.name, stream.script, frame_px_of(model))
    tokens = KeptTokens(directory.path / "tokens" / stream.name, video, model)
    if tokens.cpu_s is not None:
        told = {"stream": stream.name, "frames": tokens.num_frames, "cpu_s": tokens.cpu_s}
        directory.records("tower").append(told)
    with progress_bar() as progress:
        bar = progress.add_task(stream.name, total=tokens.num_frames)
        advance = partial(progress.advance, bar)
        played = play_stream(stream, tokens, who, settings, blocks, advance)
    for said, own in played:
        if own["contender"] not in known:
            records = directory.records("said")
            for one in said:
                records.append({"stream": stream.name, **one})
            kept.append({"stream": stream.name, **own}, to_disk=True)
    shutil.rmtree(blocks, ignore_errors=True)


def chosen(texts: Sequence[str]) -> list[Contender]:
    """Return the reference, then those named; `policy=all`: every policy. Raises SettingsError."""
    every = [f"policy={name}" for name in POLICIES.names()]
    told = [one for text in texts for one in (every if text == f"policy={ALL}" else [text])]
    reference, *others = parse_contenders([REFERENCE, *told], own=ABLATIONS)
    for one in others:
        if not one.is_watching:
            raise SettingsError(f"contender: {one.name} keeps no memory")
    return [reference, *others]


def _on_record(
    directory: RunDirectory, first: str
) -> tuple[list[Document], list[Document], list[float]]:
    """Return what was kept, also of earlier starts and the contender `first` in front, what was
    said, the last time it was, and the tower's milliseconds.
    """
    kept = {(one["stream"], one["contender"]): one for one in directory.records("kept").documents}
    said = {
        (one["stream"], one["contender"], one["number"]): one
        for one in directory.records("said").documents
    }
    tower = directory.records("tower").documents
    return (
        sorted(kept.values(), key=lambda one: one["contender"] != first),
        list(said.values()),
        [1000 * one["cpu_s"] / one["frames"] for one in tower],
    )
