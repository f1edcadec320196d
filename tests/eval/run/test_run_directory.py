"""A run's directory: whose it is, how it was started, what a killed run left in it."""

import json
import shlex

import pytest
import torch

from eval.run.peak_memory import OF_PROCESS, PeakMemory
from eval.run.run_directory import RecordFile, RunDescription, RunDirectory
from eval.run.scored import Scored, read_scored, write_scored
from vstream import SettingsError


def test_another_run_is_refused_with_what_differs(tmp_path):
    RunDirectory(tmp_path, {"seed": 1, "model": "a"})
    RunDirectory(tmp_path, {"seed": 1, "model": "a"})
    with pytest.raises(SettingsError, match=r"holds another run \(seed 1 -> 2\)"):
        RunDirectory(tmp_path, {"seed": 2, "model": "a"})


def test_two_runs_do_not_write_into_one_directory(tmp_path):
    config = {"seed": 1}
    with (
        RunDirectory(tmp_path, config),
        pytest.raises(SettingsError, match="another run is using"),
        RunDirectory(tmp_path, config),
    ):
        pytest.fail("the second one got in")
    with RunDirectory(tmp_path, config) as again:
        assert again.path == tmp_path


def test_every_start_is_described(tmp_path):
    for _ in range(2):
        with RunDirectory(tmp_path, {"seed": 1}):
            pass
    found = RunDescription.read(tmp_path)
    assert found.config == {"seed": 1}
    assert len(found.starts) == 2
    for start in found.starts:
        assert start["command"].startswith("python -m eval")
        assert start["versions"]["torch"] == torch.__version__
        assert start["hardware"]["cores"] >= 1
        assert start["hardware"]["torch_threads"] == torch.get_num_threads()
        assert start["date"].endswith("+00:00")


def test_no_key_is_shown(tmp_path, monkeypatch):
    words = ["eval", "questions", "--judge-key", "hunter2", "--second-key=hunter2", "--seed", "1"]
    monkeypatch.setattr("sys.argv", words)
    with RunDirectory(tmp_path, {"seed": 1}):
        pass
    assert "hunter2" not in (tmp_path / "run.json").read_text()
    (start,) = RunDescription.read(tmp_path).starts
    assert shlex.split(start["command"])[3:] == [
        *("questions", "--judge-key", "***", "--second-key=***", "--seed", "1")
    ]


def test_what_another_version_left_is_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"seed": 1}')
    with pytest.raises(SettingsError, match="another version"):
        RunDirectory(tmp_path, {"seed": 1})


def test_records_go_on_after_a_torn_line(tmp_path):
    file = RecordFile(tmp_path / "stream0" / "default.jsonl")
    file.append({"n": 0})
    file.append({"n": 1})
    path = tmp_path / "stream0" / "default.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    again = RecordFile(path)
    assert again.documents == [{"n": 0}]
    again.append({"n": 1})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"n": 0}, {"n": 1}]


def test_scored_questions_come_back_as_they_were(tmp_path):
    records = [
        Scored("a/0", "a", "default", "count", "wie viele?", "drei", "3", 1.0, 4.0, 2.0, 12.5, "x"),
        Scored("a/1", "a", "majority", "count", "how many?", "", "3", 0.25, 4.0),
    ]
    write_scored(tmp_path, records[:1])
    write_scored(tmp_path, records)
    assert read_scored(tmp_path) == records


def test_the_peak_of_memory_is_that_of_what_ran_within():
    if not PeakMemory(torch.device("cpu")).__enter__()._is_reset:
        pytest.skip("this system cannot set the peak back")
    size = 200 << 20
    with PeakMemory(torch.device("cpu")) as small:
        pass
    with PeakMemory(torch.device("cpu")) as large:
        held = torch.ones(size, dtype=torch.uint8)
        del held
    with PeakMemory(torch.device("cpu")) as after:
        pass
    assert large.of == OF_PROCESS
    assert large.num_bytes - small.num_bytes > 0.9 * size
    assert after.num_bytes < large.num_bytes - 0.5 * size
    left_behind = torch.ones(size, dtype=torch.uint8)
    with PeakMemory(torch.device("cpu"), small.num_bytes) as alone:
        pass
    assert abs(alone.num_bytes - small.num_bytes) < 0.1 * size
    del left_behind
