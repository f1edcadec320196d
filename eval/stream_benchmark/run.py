"""run_exam: draws an exam, plays it to its contenders, scores it and reports."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import torch

from eval.command_line import use_threads
from eval.play.contender import ALL, LANGUAGE, Contender, parse_contenders
from eval.play.play_all import WorkerSetup, play_all, require_fit, tasks_of
from eval.play.plays import Play, Prompt, Standing, TimeSpan, VideoQuestion, plan
from eval.play.records import Records
from eval.play.settings import PlaySettings
from eval.run.cost import write_costs
from eval.run.report import write_report
from eval.run.run_directory import RunDirectory
from eval.run.scored import write_scored
from eval.stream_benchmark.citation_figures import citation_table
from eval.stream_benchmark.exam import (
    MIN_QUESTIONS,
    ExamOptions,
    ExamStream,
    draw_exam,
    exam_digest,
    limited,
    majority_texts,
)
from eval.stream_benchmark.figures import ContenderReport
from eval.stream_benchmark.record import question_id, record_of
from eval.stream_benchmark.time_figures import time_document, time_table
from eval.stream_benchmark.watches import (
    WATCHED,
    WatchFigures,
    rare_questions,
    standing_questions,
    watch_record,
    watched_until,
)
from eval.stream_benchmark.world_video import WorldVideo, frame_px_of
from eval.stream_world import Renderer
from eval.stream_world.standing import StandingQuestion
from eval.stream_world.timed import NEVER_SO, TIMED
from memory import KVMemoryError
from memory.policies.default import Default, DefaultSettings
from vstream import SettingsError, VideoLLM, VStreamConfig, VStreamError, load_video_llm
from vstream.policy import shape_of

MAJORITY = "majority"
"""Baseline: the most frequent answer to the kind in other streams."""
_WORTH_A_WORKER_S = 300

Standings = Mapping[str, Sequence[StandingQuestion]]


def run_exam(
    size: Callable[[int], ExamOptions],
    contenders: Sequence[str],
    config: VStreamConfig,
    out: Path | None,
    *,
    workers: int | None,
    limit: int | None,
    has_watches: bool,
) -> tuple[dict[str, dict[str, Any]], str]:
    """Return the figures of each contender, the two baselines last, and the report as Markdown.
    `size` gets the number of frames per block. The number of `workers` changes no record.
    """
    model = load_video_llm(config.model, config.device, config.dtype, sample_fps=1.0)
    options = size(model.family.frames_per_block)
    workers = workers or default_workers(model, options)
    exam = draw_exam(options)
    frame_px = frame_px_of(model)
    digest = exam_digest(exam, Renderer(frame_px))
    dtype = str(model.decoder.dtype).removeprefix("torch.")
    hours = f"{options.length_s / 3600:g}h"
    name = f"{options.seed}-{hours}-{digest}-{model.fingerprint}-{dtype}"
    path = out or Path("runs/stream-world") / name
    settings = PlaySettings(config, follows_times=True, folder=path / "blocks")
    shared = None if workers == 1 else max(1, torch.get_num_threads() // workers)
    setup = WorkerSetup(settings, 1.0, use_threads(config.threads or shared))
    who, left_out = fitting(contenders, settings, model, options.length_s)
    exam = limited(exam, limit)
    is_about_time = options.topic == "time"
    _warn_of_few_questions(exam, options)
    draw_standing = rare_questions if is_about_time else standing_questions
    standing = draw_standing(exam) if has_watches else {}
    with RunDirectory(path, _described(options, digest, model)) as directory:
        records = Records(directory, who)
        tasks = tasks_of(plays_of(exam, standing, frame_px), who, records.known, settings, model)
        play_all(tasks, records, setup, setup.work(model) if workers == 1 else None, workers)
        reports = reports_of(exam, standing, options, who, records)
        write_scored(path, [one.scored for report in reports.values() for one in report.records])
        write_costs(path, [cost for report in reports.values() for cost in report.costs])
        records_of = {name: report.records for name, report in reports.items()}
        tables = [time_table(records_of)] if is_about_time else []
        tables += [table] if (table := citation_table(records_of)) else []
        write_report(path, left_out, tables)
    for line in (*records.warnings, f"report: {path / 'report.html'}"):
        sys.stderr.write(f"{line}\n")
    documents = {name: report.document() for name, report in reports.items()}
    for name, report in reports.items() if is_about_time else ():
        documents[name]["time"] = time_document(report.records)
    return documents, (path / "report.md").read_text(encoding="utf-8")


def fitting(
    texts: Sequence[str], settings: PlaySettings, model: VideoLLM, num_frames: int
) -> tuple[list[Contender], dict[str, str]]:
    """Return `language` and those that the model can follow; for `policy=all`, why not others."""
    who, why = [], {}
    for contender in parse_contenders(texts, knows_evidence=True):
        try:
            require_fit(contender, settings, model, num_frames)
            who.append(contender)
        except (VStreamError, KVMemoryError) as error:
            why[contender.name] = str(error)
    if why and not any(f"policy={ALL}" in text for text in texts):
        raise SettingsError("; ".join(why.values()))
    for reason in why.values():
        sys.stderr.write(f"left out: {reason}\n")
    without = [one for one in who if one != Contender(LANGUAGE)]
    return [*without, Contender(LANGUAGE)], why


def plays_of(exam: Sequence[ExamStream], standing: Standings, frame_px: int) -> list[Play]:
    """Return every stream with its questions and standing questions."""
    plays = []
    for stream in exam:
        video = WorldVideo(stream.name, stream.script, frame_px)
        asked = [
            VideoQuestion(
                question_id(stream, number),
                video,
                (TimeSpan(0.0, float(question.asked_s)),),
                Prompt(question.text),
                evidence=tuple(TimeSpan(span.start_s, span.end_s) for span in question.evidence),
            )
            for number, question in enumerate(drawn.question for drawn in stream.questions)
        ]
        watched = tuple(
            Standing(_watch_id(stream, number), one.text, one.asked_s, watched_until(stream, one))
            for number, one in enumerate(standing.get(stream.name, ()))
        )
        plays += [replace(play, standing=watched) for play in plan(asked)]
    return plays


def reports_of(
    exam: Sequence[ExamStream],
    standing: Standings,
    options: ExamOptions,
    contenders: Sequence[Contender],
    records: Records,
) -> dict[str, ContenderReport]:
    """Report on the contenders, then on the baselines, from the records."""
    *who, blind = [contender.name for contender in contenders]
    majority, reports = majority_texts(options), {}
    on_record = records.answers
    for name in (*who, MAJORITY, blind):
        answers = on_record.get(name, {})
        found = []
        for stream in exam:
            for number, drawn in enumerate(stream.questions):
                if name == MAJORITY:
                    text = majority.get(drawn.question.kind)
                    found.append(record_of(name, stream, number, text, {}))
                elif one := answers.get(question_id(stream, number)):
                    found.append(record_of(name, stream, number, one["texts"][0], one["said"][0]))
        reports[name] = ContenderReport(
            found,
            list({cost.video: cost for cost in records.costs if cost.policy == name}.values()),
            _watched(exam, standing, records.fired_s) if name == WATCHED else None,
            [hours for hours in records.hours if hours["contender"] == name],
        )
    return reports


def _watched(
    exam: Sequence[ExamStream], standing: Standings, fired_s: Mapping[str, Sequence[float]]
) -> WatchFigures | None:
    found = [
        watch_record(stream, one, fired_s[name])
        for stream in exam
        for number, one in enumerate(standing.get(stream.name, ()))
        if (name := _watch_id(stream, number)) in fired_s
    ]
    return WatchFigures.of(found) if found else None


def _watch_id(stream: ExamStream, number: int) -> str:
    return f"{stream.name}/watch{number}"


def default_workers(model: VideoLLM, options: ExamOptions) -> int:
    """On a CPU, two processes of one thread run a small model faster, but each has to load it."""
    if model.family.name != "embedded" or model.decoder.device.type != "cpu":
        return 1
    of_minutes = options.num_streams * options.length_s // _WORTH_A_WORKER_S
    return max(1, min(psutil.cpu_count(logical=False) or 1, of_minutes))


def _described(options: ExamOptions, exam: str, model: VideoLLM) -> dict[str, object]:
    """Return everything that must agree for records to belong to one run."""
    default = Default(shape_of(model, 1), DefaultSettings())
    reads = default.context_blocks() * model.family.frames_per_block
    return {
        "benchmark": "stream-world",
        **asdict(options),
        "exam": exam,
        "model": model.fingerprint,
        "model_name": Path(model.name).name,
        "dtype": str(model.decoder.dtype),
        "policy": f"{default.provenance()} reads={reads}",
    }


def _warn_of_few_questions(exam: Sequence[ExamStream], options: ExamOptions) -> None:
    if options.topic == "time":
        _warn_of_few_of_a_kind(exam, options.num_questions)
        return
    asked = [drawn for stream in exam if stream.style == "seen" for drawn in stream.questions]
    num_questions = sum(drawn.wording == "train" for drawn in asked)
    if num_questions < MIN_QUESTIONS:
        sys.stderr.write(
            f"warning: {num_questions} questions in ordinary wordings; fewer than {MIN_QUESTIONS} "
            "say little\n"
        )


def _warn_of_few_of_a_kind(exam: Sequence[ExamStream], num_wanted: int) -> None:
    asked = [drawn for stream in exam for drawn in stream.questions if drawn.wording == "train"]
    found = Counter(NEVER_SO if one.question.is_never_so else one.question.kind for one in asked)
    few = [f"{found[kind]} {kind}" for kind in (*TIMED, NEVER_SO) if found[kind] < num_wanted]
    if few:
        sys.stderr.write(f"warning: wanted {num_wanted} questions of each kind: {', '.join(few)}\n")
