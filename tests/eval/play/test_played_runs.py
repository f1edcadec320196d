"""`python -m eval questions` and `etbench` with a model: played, killed, gone on with, scored."""

import json
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from played_sets import write_set
from processes import Process
from tiny_checkpoints import save_tiny_checkpoint
from typer.testing import CliRunner

from eval.commands import cli
from eval.run.cost import read_costs
from eval.run.run_directory import RecordFile, RunDescription
from eval.run.scored import read_scored


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_checkpoint("embedded", tmp_path_factory.mktemp("model"))


def arguments(*more, data, out, model):
    return [*more, "--data", data, "--model", model, "--out", out, "--max-tokens", 4]


def run(*words):
    done = CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": "1000"})
    assert done.exit_code == 0, done.output
    return done


def document_of(done):
    return json.loads(done.stdout.strip().splitlines()[-1])


def answers_in(path):
    """What was said, by question, but for how long it took."""
    found = {}
    for line in path.read_text().splitlines():
        document = json.loads(line)
        for said in document["said"]:
            del said["first_token_ms"]
        assert document["id"] not in found, "asked twice"
        found[document["id"]] = document
    return found


def under(*names):
    return [word for name in names for word in ("--contender", f"policy={name}")]


class Whole(NamedTuple):
    """A run that nothing came between: of what, what was asked, and the document it ended with."""

    data: Path
    out: Path
    asked: list
    document: dict


def whole_run(path, name, *words, model):
    data, out = path / "data", path / "run"
    asked = write_set(name, data)
    done = run(*arguments(*words, "--json", data=data, out=out, model=model))
    return Whole(data, out, asked, document_of(done))


OVO = ("questions", "ovo-bench")
OF_ETBENCH = ("default", "window", "language")


@pytest.fixture(scope="module")
def of_ovo(tmp_path_factory, model):
    words = (*OVO, *under("default", "frames"))
    return whole_run(tmp_path_factory.mktemp("ovo"), "ovo-bench", *words, model=model)


@pytest.fixture(scope="module")
def of_etbench(tmp_path_factory, model):
    words = ("etbench", *under(*OF_ETBENCH))
    return whole_run(tmp_path_factory.mktemp("etbench"), "etbench", *words, model=model)


@pytest.mark.timeout(400)
def test_a_run_that_is_killed_goes_on_and_says_what_an_uninterrupted_one_says(
    tmp_path, model, of_ovo
):
    data, whole, asked, _ = of_ovo
    words = [*OVO, *under("default", "frames")]
    out = tmp_path / "killed"
    path = out / "answers/default.jsonl"
    for num_lines in (1, 4):
        process = Process(*arguments(*words, data=data, out=out, model=model), module="eval")
        deadline = time.monotonic() + 120
        while not (path.exists() and path.read_bytes().count(b"\n") >= num_lines):
            assert process.is_running, "".join(process.err)
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
        kept = path.read_bytes()
        with path.open("ab") as file:
            file.write(b'{"id": "half a li')
    run(*arguments(*words, data=data, out=out, model=model))
    assert path.read_bytes().startswith(kept), "what was on record has been asked again"
    for name in ("answers/default.jsonl", "answers/frames.jsonl"):
        assert answers_in(out / name) == answers_in(whole / name)
        assert len(answers_in(out / name)) == len(asked)
    assert len(RunDescription.read(out).starts) == 3

    def timeless(directory):
        return [{**vars(one), "first_token_ms": None} for one in read_scored(directory)]

    assert timeless(out) == timeless(whole)


@pytest.mark.timeout(400)
def test_two_workers_say_what_one_says(tmp_path, model, of_etbench):
    data, one, asked, document = of_etbench
    words = ["etbench", *under(*OF_ETBENCH), "--workers", 2, "--json"]
    second = run(*arguments(*words, data=data, out=tmp_path, model=model))
    for policy in OF_ETBENCH:
        name = f"answers/{policy}.jsonl"
        assert answers_in(tmp_path / name) == answers_in(one / name)
        assert len(answers_in(one / name)) == len(asked)
    assert document["policies"] == document_of(second)["policies"]


def test_a_run_of_etbench_is_scored_as_its_own_prediction_file_is(of_etbench):
    data, out, _, document = of_etbench
    annotations = data / "annotations/etbench_txt_v1.0.json"
    predictions = out / "default.predictions.json"
    files = ("--annotations", annotations, "--predictions", predictions)
    scored = document_of(run("etbench", "--score-only", *files, "--json"))
    assert document["policies"]["default"] == scored
    entries = json.loads(predictions.read_text())
    published = json.loads(annotations.read_text())
    assert [{k: v for k, v in entry.items() if k != "a"} for entry in entries] == published
    assert all(isinstance(entry["a"], str) for entry in entries)
    records = [record for record in read_scored(out) if record.policy == "default"]
    assert {record.task for record in records} == {entry["task"] for entry in published}
    assert all(record.first_token_ms > 0 and 0 <= record.score <= 1 for record in records)
    assert {one.num_frames for one in read_costs(out) if one.policy == "default"} == {10}
    assert "etbench" in (out / "report.md").read_text()
    assert (out / "report.html").exists()


def test_a_run_of_a_question_set_is_scored_as_its_own_prediction_file_is(tmp_path, model):
    write_set("streaming-bench", tmp_path)
    out = tmp_path / "run"
    words = ["questions", "streaming-bench", "--json", *under("frames", "language")]
    found = document_of(run(*arguments(*words, data=tmp_path, out=out, model=model)))
    assert found["failed"] == {"frames": 0, "language": 0}
    for policy in ("frames", "language"):
        predictions = ("--predictions", out / f"answers/{policy}.jsonl")
        again = run("questions", "streaming-bench", "--data", tmp_path, *predictions, "--json")
        assert found["policies"][policy] == document_of(again)
        assert found["policies"][policy]["answered"] == 6


def test_a_policy_may_be_added_to_a_run_and_two_runs_compared(tmp_path, model, of_ovo):
    one, two = tmp_path / "one", tmp_path / "two"
    shutil.copytree(of_ovo.out, one)
    run(*arguments(*OVO, *under("language"), data=of_ovo.data, out=one, model=model))
    assert {record.policy for record in read_scored(one)} == {"default", "frames", "language"}
    run(*arguments(*OVO, *under("frames"), data=of_ovo.data, out=two, model=model))
    ids = [{record.question_id for record in read_scored(directory)} for directory in (one, two)]
    assert ids[0] == ids[1]
    (compared,) = document_of(run("compare", f"{one}:frames", two, "--json"))
    assert compared["first"].endswith("frames")
    assert compared["questions"] == len(ids[0])
    assert compared["difference"] == 0


def test_open_answers_are_kept_without_a_judge_and_it_is_said_how_to_score_them(tmp_path, model):
    write_set("rvs-ego", tmp_path)
    out = tmp_path / "run"
    done = run(*arguments("questions", "rvs-ego", data=tmp_path, out=out, model=model))
    assert "name a --judge" in done.stderr
    assert len(answers_in(out / "answers/default.jsonl")) == 3
    config = RunDescription.read(out).config
    assert (config["sample_fps"], config["dedup_threshold"]) == (0.5, 0.0)
    judged = {"key": "k", "judge": "j", "settings": {}, "text": "yes", "version": "v"}
    (out / "answers/default.judgements.jsonl").write_text(json.dumps(judged) + "\n")
    more = ("--contender", "policy=frames")
    run(*arguments("questions", "rvs-ego", *more, data=tmp_path, out=out, model=model))
    assert len(answers_in(out / "answers/frames.jsonl")) == 3


def test_what_cannot_be_played_is_named_before_anything_is(tmp_path, model):
    asked = write_set("ovo-bench", tmp_path)
    out = tmp_path / "run"

    def refused(*words):
        done = CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": "1000"})
        assert done.exit_code == 2
        return done.output

    words = arguments("questions", "ovo-bench", data=tmp_path, out=out, model=model)
    assert "'oracle' is none of" in refused(*words, "--contender", "policy=oracle")
    assert "give --out" in refused("questions", "ovo-bench", "--data", tmp_path, "--model", model)
    run(*words, "--limit", 2)
    assert len(answers_in(out / "answers/default.jsonl")) == 2
    assert "holds another run" in refused(*words)
    asked[0].video.unlink()
    missing = refused(*words, "--limit", 2)
    assert "src_videos/COIN/a.mp4" in missing
    assert "huggingface.co/datasets/JoeLeelyf/OVO-Bench" in missing


def test_half_a_line_is_dropped_and_a_whole_one_kept(tmp_path):
    path = tmp_path / "default.jsonl"
    path.write_bytes(b'{"id": "a", "texts": ["x"]}\n{"id": "b", "te')
    assert [one["id"] for one in RecordFile(path).documents] == ["a"]
    assert path.read_bytes() == b'{"id": "a", "texts": ["x"]}\n'
