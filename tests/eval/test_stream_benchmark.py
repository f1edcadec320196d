"""Runs of the stream-world benchmark: sessions shared, runs that were killed, the command line."""

import contextlib
import itertools
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from engine import tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from once_renderer import streams_drawn_once
from tiny_benchmark import TINY, TinyBenchmark, terse_model
from typer.testing import CliRunner

from eval.commands import cli
from eval.play.records import WATCHES
from eval.run.cost import read_costs
from eval.run.scored import read_scored
from eval.run.summary import summaries
from eval.stream_benchmark.exam import ExamOptions
from eval.stream_benchmark.run import default_workers
from eval.stream_world import KINDS
from vstream import load_video_llm

CONTENDERS = "default frames uniform,codec=int4"
NAMES = ("default", "frames", "uniform+int4", "language")
SHORT = replace(TINY, length_s=20)
KEYS = {
    *("present", "past", "times", "heldout_phrasing", "heldout_style", "negative", "all"),
    *("by_kind", "by_age", "stderr", "recall", "bytes_per_hour", "ingest_fps", "ttft_ms"),
    *("questions", "needles", "times_exact", "held_by_age", "hours", "citations"),
}


Benchmark = partial(TinyBenchmark, options=SHORT)


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True, scope="module")
def _streams_drawn_once():
    with streams_drawn_once():
        yield


@pytest.fixture(scope="module")
def model():
    return terse_model()


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    return Benchmark(tmp_path_factory.mktemp("whole"), CONTENDERS, model).run()


def test_every_question_is_put_to_every_contender_in_the_same_words(whole):
    reports = whole.reports()
    assert list(reports) == ["default", "frames", "uniform+int4", "majority", "language"]
    asked = {
        name: tuple((r.scored.question_id, r.scored.question) for r in report.records)
        for name, report in reports.items()
    }
    num_questions = sum(len(stream.questions) for stream in whole.exam)
    assert num_questions >= SHORT.num_questions
    assert {len(questions) for questions in asked.values()} == {num_questions}
    assert len(set(asked.values())) == 1


@settings(max_examples=4)
@given(data=st.data())
def test_a_run_that_was_killed_goes_on_to_the_same_answers(whole, model, data):
    kills = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=2))
    torn_bytes = data.draw(st.integers(0, 60))
    with TemporaryDirectory() as folder:
        for num_records in kills:
            run = Benchmark(Path(folder), CONTENDERS, model)
            with contextlib.suppress(Killed):
                run.run(kill_after(num_records))
            tear(run, torn_bytes)
        again = Benchmark(Path(folder), CONTENDERS, model).run()
        for name in NAMES:
            assert again.answers(name) == whole.answers(name), name


def kill_after(num_records):
    taken = itertools.count(1)

    def take(told):
        if next(taken) == num_records:
            raise Killed

    return take


def tear(run, num_bytes):
    """Cut the file that was written last, as if the line had not got out whole."""
    files = sorted((run.path / "answers").glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    if files and num_bytes:
        last = files[-1].read_bytes().splitlines(keepends=True)
        line = last[-1][: -min(num_bytes, len(last[-1]))]
        files[-1].write_bytes(b"".join(last[:-1]) + line)


def test_what_is_finished_is_not_done_again(whole, model):
    again = Benchmark(whole.path, CONTENDERS, model)
    assert again.tasks == []
    before = model.family.num_encoded
    again.run(lambda told: pytest.fail(f"{told} was done again"))
    assert model.family.num_encoded == before


def test_contenders_that_read_the_same_blocks_share_a_session_and_others_play_alone(tmp_path):
    run = Benchmark(
        tmp_path / "together", "default uniform oracle default,codec=bf16 rekv full window"
    )
    names = [
        [one.name for one in task.contenders] for task in run.tasks if task.play is run.plays[0]
    ]
    assert names == [
        ["default", "uniform", "oracle"],
        *(["default+bf16"], ["rekv"], ["full"], ["window"], ["language"]),
    ]
    together = run.run()
    assert list(run.settings.folder.iterdir()) == [], "blocks stay behind"
    for name in ("uniform", "full"):
        alone = Benchmark(tmp_path / name, name, run.model).run()
        assert alone.answers(name) == together.answers(name)
    costs = {name: report.costs for name, report in together.reports().items()}
    assert [one.num_bytes for one in costs["oracle"]] == [one.num_bytes for one in costs["default"]]


def test_a_contender_with_a_plan_leaves_the_answers_of_others_alone(tmp_path, whole, model):
    planned = Benchmark(tmp_path, "default default,plan=on", model)
    task = next(one for one in planned.tasks if one.contenders[0].policy == "default")
    assert [one.name for one in task.contenders] == ["default", "default+plan"]
    planned.run()
    assert planned.answers("default") == whole.answers("default")
    assert all(one["text"] is not None for one in planned.answers("default+plan").values())


def test_a_standing_question_that_was_watched_is_not_watched_again(tmp_path, model, monkeypatch):
    monkeypatch.setattr("eval.stream_benchmark.watches.NUM_WATCHED", 4)
    num_watches = 8
    run = Benchmark(tmp_path, "default window", model, has_watches=True)
    watched = itertools.count(1)

    def take(told):
        if told[0] == WATCHES and next(watched) == 4:
            raise Killed

    with contextlib.suppress(Killed):
        run.run(take)
    before = run.records.fired_s
    assert len(before) == 4
    again = Benchmark(tmp_path, "default window", model, has_watches=True).run()
    assert len((tmp_path / "answers/default.watches.jsonl").read_text().splitlines()) == num_watches
    assert before.items() <= again.records.fired_s.items()
    reports = again.reports()
    assert reports["default"].watches.num_watches == num_watches
    assert reports["window"].watches is None
    assert again.tasks == []


def test_a_family_with_blocks_of_two_frames_can_be_examined(tmp_path):
    model, _ = tiny_video_llm("qwen2_5_vl")
    model.family.stop_ids = frozenset(range(0, 1000, 2))  # a random model would talk on
    run = Benchmark(tmp_path, "default oracle frames", model).run()
    found = {name: report.document() for name, report in run.reports().items()}
    assert found["oracle"]["questions"] == len(run.answers("oracle")) > 0
    assert found["default"]["bytes_per_hour"] == found["oracle"]["bytes_per_hour"] > 0
    assert found["frames"]["ingest_fps"] is None


def unboxed(text):
    """A usage error as one line, without the frame around it."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def rounded(value, digits):
    return None if value is None else round(value, digits)


def invoke(*options):
    return CliRunner().invoke(cli, ["stream-world", *map(str, options)])


def test_the_command_ends_with_one_document(tmp_path):
    size = ["--seed", 1, "--hours", 0.01, "--streams", 1, "--questions", 16, "--threads", 1]
    result = invoke(
        *(*size, "--contender", "policy=default", "--contender", "policy=streaming_llm,frames=8"),
        *("--out", tmp_path, "--json", "--no-watches"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.strip().splitlines()[-1])
    window = "streaming_llm+frames=8"
    assert list(found) == ["default", window, "majority", "language"]
    for name, policy in found.items():
        assert set(policy) == KEYS
        assert set(policy["by_kind"]) == set(KINDS)
        assert list(policy["by_age"]) == ["<1min", "1-10min", "10-60min", "1-6h", ">6h"]
        assert policy["questions"] >= 16
        is_baseline = name in ("majority", "language")
        for figure in ("recall", "bytes_per_hour", "ingest_fps"):
            assert (policy[figure] is None) == is_baseline
        assert all(policy[key] is None or 0 <= policy[key] <= 100 for key in ("present", "all"))
    for told in summaries(read_scored(tmp_path), read_costs(tmp_path)):
        of_policy = found[told.policy]
        assert of_policy["bytes_per_hour"] == rounded(told.bytes_per_hour, 0)
        assert of_policy["ingest_fps"] == rounded(told.ingest_fps, 1)
    assert found["default"]["bytes_per_hour"] > found[window]["bytes_per_hour"] == 0
    assert len(found["default"]["recall"]) == 8
    assert "fewer than 300" in result.stderr
    other = invoke("--seed", 2, *size[2:], "--out", tmp_path)
    assert other.exit_code == 2
    assert "holds another run" in unboxed(other.stderr)


def test_an_exam_about_time_has_its_own_kinds_table_and_watches(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.stream_benchmark.watches.NUM_WATCHED", 1)
    size = ["--seed", 1, "--hours", 0.01, "--streams", 1, "--questions", 2]
    result = invoke("--exam", "time", *size, "--out", tmp_path, "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    assert "## About time: percent right" in result.stdout
    found = json.loads(result.stdout.strip().splitlines()[-1])
    rows = found["default"]["time"]
    assert {"times", "times within 2 s", "how_long", "order", "while", "never so"} <= set(rows)
    asked = [one for row in list(rows)[2:] if (one := rows[row]["all"])]
    assert sum(one["questions"] for one in asked) == found["default"]["questions"] > 6
    assert {*asked[0]} == {"percent", "interval", "questions"}
    assert list(found["default"]["watches"]["by_hour"]) == ["1"]
    assert "wanted 2 questions of each kind" in result.stderr


def test_an_unknown_policy_is_a_usage_error_and_the_old_option_names_the_new_one():
    result = invoke("--seed", 1, "--hours", 0.01, "--contender", "policy=best")
    assert result.exit_code == 2
    assert "'best' is none of" in unboxed(result.stderr)
    result = invoke("--seed", 1, "--hours", 0.01, "--policy", "window")
    assert result.exit_code == 2
    assert "--contender policy=window" in unboxed(result.stderr)


@pytest.mark.parametrize(
    ("minutes", "streams", "cores", "workers"),
    [(10, 4, 2, 2), (10, 4, 16, 8), (60, 1, 2, 2), (1, 4, 2, 1), (10, 4, None, 1)],
)
def test_on_a_cpu_the_embedded_model_plays_long_exams_on_every_core(
    minutes, streams, cores, workers, model, monkeypatch
):
    monkeypatch.setattr("psutil.cpu_count", lambda logical: cores)
    options = ExamOptions(1, 60 * minutes, streams, 100)
    assert default_workers(load_video_llm(None, "cpu"), options) == workers
    assert default_workers(model, options) == 1, "it may be a large one"
