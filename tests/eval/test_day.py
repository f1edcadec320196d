"""A stream encoded once, through kills, and replayed into memories that keep their budgets."""

import itertools
import json
import time

import numpy as np
import pytest
import torch
from tiny_day import LENGTH_S, OPTIONS, TinyDay, without_times
from typer.testing import CliRunner

from eval.commands import cli
from eval.day.budget_watch import EVERY_S, BudgetWatch
from eval.day.day_exam import AGES_S, asking_moments, draw_day_exam, timed_questions
from eval.day.report import document, page
from eval.run.evidence_age import age_of
from eval.stream_benchmark.exam import day_seed
from eval.stream_world import write_script
from memory import KVMemory


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return TinyDay(tmp_path_factory.mktemp("whole")).encode()


@pytest.fixture(scope="module")
def replayed(whole):
    return whole.replay()


def require_same(records, wanted, atol):
    assert [r.head.block_id for r in records] == list(range(LENGTH_S))
    for one, other in zip(records, wanted, strict=True):
        assert one.head.form == other.head.form
        assert torch.equal(one.head.info.positions, other.head.info.positions)
        assert (one.head.info.start_s, one.thumbnail) == (other.head.info.start_s, other.thumbnail)
        for row, other_row in zip(one.rows, other.rows, strict=True):
            np.testing.assert_allclose(
                np.frombuffer(row, "<f4"), np.frombuffer(other_row, "<f4"), rtol=0, atol=atol
            )


def test_still_tokens_were_dropped_and_the_first_block_is_whole(whole):
    tokens = [record.head.form.layout.tokens for record in whole.records()]
    assert tokens[0] == max(tokens) > np.mean(tokens)


def test_an_encode_killed_between_two_batches_goes_on_bit_by_bit(whole, tmp_path):
    calls = itertools.count()

    def kill_at_the_third(frames):
        if next(calls) == 3:
            raise Killed

    with pytest.raises(Killed):
        TinyDay(tmp_path).encode(kill_at_the_third)
    done = []
    day = TinyDay(tmp_path).encode(done.append)
    assert done[0] == 3 * 64
    assert sum(done) == LENGTH_S
    require_same(day.records(), whole.records(), atol=0)


@pytest.mark.parametrize("killed_at", [1, 70, 203, 333])
def test_an_encode_killed_in_a_batch_goes_on_to_the_same_blocks(
    whole, tmp_path, monkeypatch, killed_at
):
    take = KVMemory.take

    def dying_take(memory, block):
        if memory.num_blocks == killed_at:
            raise Killed
        return take(memory, block)

    with monkeypatch.context() as dying:
        dying.setattr(KVMemory, "take", dying_take)
        with pytest.raises(Killed):
            TinyDay(tmp_path).encode()
    newest = max((tmp_path / "blocks" / "day" / "segments").iterdir())
    newest.write_bytes(newest.read_bytes()[:-3])  # the last block did not get out whole
    done = []
    day = TinyDay(tmp_path).encode(done.append)
    assert done[0] == killed_at - 1
    require_same(day.records(), whole.records(), atol=2e-4)


def test_what_is_done_is_not_done_again(whole, replayed):
    _, found = replayed
    again = TinyDay(whole.path)
    again.encode(lambda frames: None)
    done = []
    _, second = again.replay(lambda name, frames: done.append((name, frames)))
    assert again.renderer.num_frames == 0
    assert done == [("budgeted", LENGTH_S), ("unlimited", LENGTH_S)]
    assert second == [*found]


def test_a_replay_that_was_killed_is_begun_anew(whole, replayed):
    _, found = replayed
    (whole.path / "budgeted.json").unlink()  # its blocks are left
    _, again = TinyDay(whole.path).replay()
    assert [*map(without_times, again)] == [*map(without_times, found)]


def test_every_memory_is_asked_the_same_and_the_budgeted_one_keeps_its_budget(replayed):
    described, found = replayed
    told = document(described, found)
    budgeted, unlimited = (told["memories"][name] for name in ("budgeted", "unlimited"))
    assert budgeted["is_within_budget"] is True
    assert unlimited["is_within_budget"] is None
    budget = budgeted["file_budget_bytes"]
    assert 0.8 * budget < budgeted["most_file_bytes"] <= budget < unlimited["most_file_bytes"]
    assert budgeted["peaks"]["file_bytes"] <= budget
    assert budgeted["most_host_bytes"] <= budgeted["host_budget_bytes"]
    assert budgeted["budget_bytes"] == described["budget_bytes"]
    assert budgeted["ageing"]["thinned"] > 0
    assert budgeted["kept_by_age"]["1-10min"] < 1 == unlimited["kept_by_age"]["1-10min"]
    assert set(told["answers"]) == {"budgeted", "unlimited", "window-only", "caption-only"}
    assert told["memories"]["unlimited"]["caption_bytes"] > 0
    for answers in told["answers"].values():
        assert answers["questions"] == OPTIONS.num_questions
        assert answers["first_token_questions"] >= 20
        assert list(answers["first_token_ms"]) == [str(LENGTH_S)]
        assert list(answers["by_age"]) == list(AGES_S)
        assert sum(a["n"] for a in answers["by_age"].values() if a) == OPTIONS.num_questions
    assert told["answers"]["unlimited"]["evidence_held"]["1-10min"] == 1
    assert told["answers"]["budgeted"]["evidence_held"]["1-10min"] < 1
    assert told["answers"]["budgeted"]["evidence_held"]["<1min"] > 0
    asked = [
        [(r["text"], r["asked_s"]) for r in records]
        for f in found
        for r_ in [f.answers]
        for records in r_.values()
    ]
    assert asked.count(asked[0]) == 4


def test_a_budget_that_was_exceeded_is_said(replayed):
    described, (budgeted, _) = replayed
    for peak, is_within in ((budgeted.file_budget_bytes, True), (1 << 40, False)):
        peaks = {"file_bytes": peak, "disk_bytes": peak, "rss_bytes": 1, "num_looks": 1}
        found = [type(budgeted)(**{**vars(budgeted), "peaks": peaks})]
        told = document(described, found)
        assert told["memories"]["budgeted"]["is_within_budget"] is is_within
        assert ("**A budget was exceeded.**" in page(told)) is not is_within


def test_questions_at_the_end_of_a_long_stream_are_about_all_ages():
    script = write_script(day_seed(2), 8 * 3600)
    exam = draw_day_exam(script, 50)
    assert exam == draw_day_exam(script, 50)
    asked = [drawn.question for drawn in exam.questions]
    assert {q.asked_s for q in asked} <= set(asking_moments(exam.length_s))
    assert len({(q.text, q.asked_s) for q in asked}) == len(asked) == 50
    ages = [age_of(q.evidence_age_s, AGES_S) for q in asked]
    assert [ages.count(age) for age in AGES_S] == [10] * 5
    assert len(timed_questions(script, 3599)) >= 20
    assert all(q.asked_s == 3599 for q in timed_questions(script, 3599))


@pytest.mark.parametrize("length_s", [36, 420, 86_400])
def test_moments_of_asking_are_all_near_the_end(length_s):
    moments = asking_moments(length_s)
    assert moments == sorted(set(moments))
    assert moments[-1] == length_s - 1
    assert moments[0] >= max(length_s // 2 - 2, length_s - 600)


def test_a_file_that_is_there_for_a_moment_is_seen(tmp_path):
    (tmp_path / "stays").write_bytes(b"x" * 1000)
    with BudgetWatch(tmp_path) as watch:
        (tmp_path / "copy").write_bytes(b"x" * 500)
        until = time.monotonic() + 20 * EVERY_S
        while watch.peaks.file_bytes < 1500 and time.monotonic() < until:
            time.sleep(EVERY_S / 4)
        (tmp_path / "copy").unlink()
    assert watch.peaks.file_bytes == 1500
    assert watch.peaks.disk_bytes >= 0
    assert watch.peaks.rss_bytes > 0


def test_the_command_ends_with_one_document_and_leaves_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.day.day_exam.NUM_TIMED", 2)
    options = ["day", "--hours", "0.05", "--threads", "1", "--questions", "10", "--seed", "3"]
    run = [*options, "--budget-share", "0.25", "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(cli, run)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout.strip().splitlines()[-1])
    assert found == json.loads((tmp_path / "report.json").read_text())
    assert found["raw_bytes"] == 180 * 12 * 8 * 2 * 128 * 2
    assert found["blocks"] == 180
    assert (tmp_path / "report.md").read_text() in result.stdout
    too_small = CliRunner().invoke(
        cli, [*options, "--budget-share", "0.01", "--out", str(tmp_path)]
    )
    assert too_small.exit_code == 2
    assert "budget_share" in too_small.stderr
