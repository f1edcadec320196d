"""`python -m eval stream-world` end to end on a real family: all baselines, killed, by workers."""

import json
import signal

import psutil
import pytest
from once_renderer import streams_drawn_once
from processes import Process, until
from tiny_checkpoints import save_tiny_checkpoint
from typer.testing import CliRunner

from eval.commands import cli
from eval.run.compare import Side, compare
from eval.run.scored import read_scored
from memory.policies import POLICIES

CONTENDERS = [*POLICIES.names(), "oracle", "frames", "majority", "language"]
pytestmark = pytest.mark.timeout(600)
SIZE = ["--seed", "1", "--hours", "0.01", "--streams", "1", "--questions", "6", "--threads", "1"]


@pytest.fixture(autouse=True, scope="module")
def _streams_drawn_once():
    with streams_drawn_once():
        yield


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Of every run here: the same exam on the same tiny model, under all policies."""
    checkpoint = save_tiny_checkpoint("llava_onevision", tmp_path_factory.mktemp("tiny"))
    stops = {"eos_token_id": list(range(0, 1000, 2))}  # a random model would talk on
    (checkpoint / "generation_config.json").write_text(json.dumps(stops))
    return [
        "stream-world",
        *SIZE,
        "--contender",
        "policy=all",
        "--model",
        str(checkpoint),
        "--no-watches",
    ]


@pytest.fixture(scope="module")
def whole(options, tmp_path_factory):
    """A run that nothing came between, by one worker."""
    out = tmp_path_factory.mktemp("whole")
    result = CliRunner().invoke(cli, [*options, "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    return out, json.loads(result.stdout.strip().splitlines()[-1])


def answers(run):
    return [(r.question_id, r.policy, r.given, r.score) for r in read_scored(run)]


def records(run):
    """Of every contender the answers, time apart; what several runs must agree in."""
    return {path.stem: answers_in(path) for path in sorted(run.glob("answers/*.jsonl"))}


def answers_in(path):
    """In the order of the ids: workers take streams as they come."""
    found = {}
    for line in path.read_text().splitlines():
        document = json.loads(line)
        for said in document["said"]:
            del said["first_token_ms"]
        assert document["id"] not in found, "asked twice"
        found[document["id"]] = document
    return dict(sorted(found.items()))


def test_all_baselines_are_in_one_table(whole):
    run, document = whole
    assert list(document) == CONTENDERS
    rows = [line for line in (run / "report.md").read_text().splitlines() if line[:2] == "| "]
    headline = rows[1 : 1 + len(CONTENDERS) + 1]
    assert [row.split(" | ")[0].strip("| ") for row in headline[1:]] == CONTENDERS
    for title in ("first token", "ingest", "dropped", "MB an hour", "peak RSS"):
        assert title in rows[0]
    assert "<svg" not in (run / "report.html").read_text()  # they are data, not elements
    assert (run / "report.html").read_text().count("data:image/svg+xml;base64,") == 4


def test_every_policy_has_the_same_questions_and_its_own_reading_of_them(whole):
    run, _ = whole
    scored = read_scored(run)
    asked = {
        policy: [
            (r.question_id, r.question, r.truth, r.asked_s) for r in scored if r.policy == policy
        ]
        for policy in CONTENDERS
    }
    assert len({tuple(questions) for questions in asked.values()}) == 1
    assert len(asked["default"]) >= 6
    (found,) = compare(Side(run, "default"), Side(run, "frames"))
    assert found.paired.num_questions == len(asked["default"])


def test_killed_workers_leave_what_one_worker_goes_on_with(whole, options, tmp_path):
    arguments = [*of_a_few(options), "--out", str(tmp_path)]
    process = Process(*arguments, "--workers", "2", module="eval")
    until(lambda: num_lines(tmp_path) >= 2 or not process.is_running, seconds=150)
    assert process.is_running, "it ended before it was killed"
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "a worker outlived its run"
    process.wait()
    before = records(tmp_path)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    require_a_part_of(whole, tmp_path)
    assert 0 < sum(map(len, before.values())) < sum(map(len, records(tmp_path).values()))
    starts = json.loads((tmp_path / "run.json").read_text())["starts"]
    assert len(starts) == 2


def of_a_few(options):
    """The same exam for two contenders alone."""
    rest = list(options)
    rest[rest.index("policy=all")] = "policy=default"
    return [*rest, "--contender", "policy=frames"]


def require_a_part_of(whole, out):
    """What a few were asked there, and said, is what they said among all."""
    run, _ = whole
    found = records(out)
    assert set(found) == {"default", "frames", "language"}
    assert found.items() <= records(run).items()
    policies = {row[1] for row in answers(out)}
    assert answers(out) == [answer for answer in answers(run) if answer[1] in policies]


def num_lines(run):
    files = run.glob("answers/*.jsonl")
    return sum(len(path.read_bytes().splitlines()) for path in files)


def test_workers_write_the_records_of_one(whole, options, tmp_path):
    arguments = [*of_a_few(options), "--out", str(tmp_path), "--workers", "2"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    require_a_part_of(whole, tmp_path)
    costs = [json.loads(line) for line in (tmp_path / "costs.jsonl").read_text().splitlines()]
    assert all(cost["ingest_s"] > 0 for cost in costs if cost["policy"] == "default")


def test_a_limit_asks_the_first_questions_and_a_later_run_the_others(whole, options, tmp_path):
    run, _ = whole
    arguments = [*options, "--out", str(tmp_path)]
    arguments[arguments.index("policy=all")] = "policy=frames"
    result = CliRunner().invoke(cli, [*arguments, "--limit", "4"])
    assert result.exit_code == 0, result.output
    few = [answer for answer in answers(tmp_path) if answer[1] == "frames"]
    assert len(few) == 4
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    every = [answer for answer in answers(run) if answer[1] == "frames"]
    assert set(few) < set(every)
    assert [answer for answer in answers(tmp_path) if answer[1] == "frames"] == every
