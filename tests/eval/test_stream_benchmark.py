"""Runs of the stream-world benchmark: shared blocks, runs that were killed, the command line."""

import contextlib
import itertools
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from engine import tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_benchmark import TINY, TinyBenchmark, terse_model
from typer.testing import CliRunner

from eval.commands import cli
from eval.run.cost import read_costs
from eval.run.scored import read_scored
from eval.run.summary import summaries
from eval.stream_benchmark.exam import ExamOptions
from eval.stream_benchmark.watches import NUM_WATCHES, WATCHED_S
from eval.stream_benchmark.worker_setup import default_workers
from eval.stream_world import KINDS
from vstream import load_video_llm

POLICIES = "default,last4,uniform+int4"
KEYS = {
    *("present", "past", "times", "heldout_phrasing", "heldout_style", "negative", "all"),
    *("by_kind", "by_age", "stderr", "recall", "bytes_per_hour", "ingest_fps", "ttft_ms"),
    *("questions", "needles", "times_exact"),
}


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def model():
    return terse_model()


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    return TinyBenchmark(tmp_path_factory.mktemp("whole"), POLICIES, model).run()


def blocks_of(run):
    return {
        folder.name: b"".join(p.read_bytes() for p in sorted(folder.glob("segments/*.vskv")))
        for folder in run.blocks.store.glob("*")
    }


def test_every_question_is_put_to_every_policy_in_the_same_words(whole):
    asked = {
        name: [(r["stream"], r["kind"], r["text"], r["truth"], r["asked_s"]) for r in answers]
        for name in (*POLICIES.split(","), "majority", "language")
        for answers in [whole.answers(name)]
    }
    num_questions = sum(len(stream.questions) for stream in whole.exam)
    assert num_questions >= TINY.num_questions
    assert {len(questions) for questions in asked.values()} == {num_questions}
    assert len({tuple(questions) for questions in asked.values()}) == 1


@settings(max_examples=4)
@given(data=st.data())
def test_a_run_that_was_killed_goes_on_to_the_same_records(whole, model, data):
    kills = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=2))
    torn_bytes = data.draw(st.integers(0, 60))
    with TemporaryDirectory() as folder:
        for num_steps in kills:
            run = TinyBenchmark(Path(folder), POLICIES, model)
            with contextlib.suppress(Killed):
                run.run(kill_after(num_steps))
            tear(run, torn_bytes)
        again = TinyBenchmark(Path(folder), POLICIES, model).run()
        for name in (*POLICIES.split(","), "majority", "language"):
            assert again.answers(name) == whole.answers(name), name
        assert blocks_of(again) == blocks_of(whole)


def kill_after(num_steps):
    steps = itertools.count(1)

    def advance(doing, done):
        if next(steps) == num_steps:
            raise Killed

    return advance


def tear(run, num_bytes):
    """Cut the file that was written last, as if the line had not got out whole."""
    files = sorted(
        (run.path / "records").rglob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns
    )
    if files and num_bytes:
        last = files[-1].read_bytes().splitlines(keepends=True)
        line = last[-1][: -min(num_bytes, len(last[-1]))]
        files[-1].write_bytes(b"".join(last[:-1]) + line)


def test_what_is_finished_is_not_done_again(whole, model):
    assert whole.benchmark.num_steps == 0
    again = TinyBenchmark(whole.path, POLICIES, model)
    before = blocks_of(again), again.model.family.num_encoded
    again.run(lambda doing, steps: pytest.fail(f"{doing} was done again"))
    assert (blocks_of(again), again.model.family.num_encoded) == before
    assert again.renderer.num_frames == 0


def test_policies_share_blocks_and_all_of_them_one_rendering(tmp_path):
    together = TinyBenchmark(
        tmp_path / "together", "default,window,oracle,default+bf16,rekv,full"
    ).run()
    seconds = sum(stream.length_s for stream in together.exam)
    assert together.renderer.num_frames == seconds
    probes = together.model.family.num_encoded - seconds  # how many tokens has a block? (rekv)
    assert 0 < probes < 10
    names = {stream.name for stream in together.exam}
    kinds = ("default-int8", "default-bf16", "rekv-int8", "full-int8")
    blocks = blocks_of(together)
    assert set(blocks) == {f"{name}-{kind}" for name in names for kind in kinds}
    alone = TinyBenchmark(tmp_path / "alone", "full").run()
    assert blocks_of(alone).items() <= blocks.items()
    assert alone.answers("full") == together.answers("full")


def test_a_standing_question_that_was_watched_is_not_watched_again(tmp_path, model):
    run = TinyBenchmark(tmp_path, "default,window", model, has_watches=True)
    watched = itertools.count(1)

    def advance(doing, done):
        if doing == "watching" and next(watched) == 4:
            raise Killed

    with contextlib.suppress(Killed):
        run.run(advance)
    before = run.documents("default.watches")
    assert len(before) == 4
    reports = TinyBenchmark(tmp_path, "default,window", model, has_watches=True).run().reports()
    again = run.documents("default.watches")
    assert again[:4] == before
    assert len(again) == reports["default"].watches.num_watches == NUM_WATCHES
    assert reports["window"].watches is None
    for record in again:
        assert 0 < record["watched_s"] <= WATCHED_S
        assert record["num_false_alarms"] <= len(record["fired_s"])


def test_the_steps_left_count_down_to_none(tmp_path, model):
    run = TinyBenchmark(tmp_path, "window,last4", model)
    done = []
    total = run.benchmark.num_steps
    run.run(lambda doing, steps: done.append(steps))
    assert sum(done) == total
    assert run.benchmark.num_steps == 0


def test_a_family_with_blocks_of_two_frames_can_be_examined(tmp_path):
    model, _ = tiny_video_llm("qwen2_5_vl")
    model.family.stop_ids = frozenset(range(0, 1000, 2))  # a random model would talk on
    run = TinyBenchmark(tmp_path, "default,oracle,last4", model).run()
    reports = run.reports()
    assert reports["oracle"].figures.num_questions == len(run.answers("oracle")) > 0
    assert reports["default"].bytes_per_hour == reports["oracle"].bytes_per_hour > 0
    assert reports["last4"].ingest_fps is None


def unboxed(text):
    """A usage error as one line, without the frame around it."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def rounded(value, digits):
    return None if value is None else round(value, digits)


def invoke(*options):
    return CliRunner().invoke(cli, ["stream-world", *map(str, options)])


def test_the_command_ends_with_one_document(tmp_path):
    size = ["--seed", 1, "--hours", 0.01, "--streams", 1, "--questions", 24, "--threads", 1]
    result = invoke(
        *size, "--policy", "default,window", "--out", tmp_path, "--json", "--no-watches"
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert list(found) == ["default", "window", "majority", "language"]
    for name, policy in found.items():
        assert set(policy) == KEYS
        assert set(policy["by_kind"]) == set(KINDS)
        assert list(policy["by_age"]) == ["<1min", "1-10min", "10-60min", ">1h"]
        assert policy["questions"] >= 24
        is_baseline = name in ("majority", "language")
        for figure in ("recall", "bytes_per_hour", "ingest_fps", "ttft_ms"):
            assert (policy[figure] is None) == is_baseline
        assert all(policy[key] is None or 0 <= policy[key] <= 100 for key in ("present", "all"))
    for told in summaries(read_scored(tmp_path), read_costs(tmp_path)):
        of_policy = found[told.policy]
        assert of_policy["bytes_per_hour"] == rounded(told.bytes_per_hour, 0)
        assert of_policy["ingest_fps"] == rounded(told.ingest_fps, 1)
    assert found["default"]["bytes_per_hour"] > found["window"]["bytes_per_hour"] == 0
    assert len(found["default"]["recall"]) == 8
    assert "fewer than 300" in result.stderr
    other = invoke("--seed", 2, *size[2:], "--out", tmp_path)
    assert other.exit_code == 2
    assert "holds another run" in unboxed(other.stderr)


def test_an_unknown_policy_is_a_usage_error():
    result = invoke("--seed", 1, "--hours", 0.01, "--policy", "best")
    assert result.exit_code == 2
    assert "'best' is none" in unboxed(result.stderr)


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
