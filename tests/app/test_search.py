"""`vstream search` on stores that `vstream ask` has filled."""

import json
import shutil

import pytest
from command_line import vstream
from kv_blocks import as_of_a_newer_version
from synthetic_video import write_video

from memory.tiers.file.whole_files import read_checked, write_checked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    for name in ("clip", "other"):
        video = write_video(folder / f"{name}.mp4", num_frames=120, fps=10)
        run = vstream("ask", video, "what do you see now?", "--store", f"file://{folder}/store")
        assert run.code == 0, run.err
    return folder


@pytest.fixture(scope="module")
def store(folder):
    return f"file://{folder}/store"


def ids_of(store):
    run = vstream("streams", "--store", store, "--json")
    return [stream["id"] for stream in json.loads(run.out.splitlines()[-1])]


def test_a_search_names_moments_of_all_streams_best_first(store):
    run = vstream("search", "a red square", "--store", store, "--top", "4", "--json")
    assert run.code == 0, run.err
    document = run.document
    assert (document["query"], document["skipped"]) == ("a red square", {})
    assert document["model"] == "embedded"
    moments = document["moments"]
    assert 1 < len(moments) <= 4
    assert {moment["stream"] for moment in moments} == set(ids_of(store))
    scores = [moment["score"] for moment in moments]
    assert scores == sorted(scores, reverse=True)
    for moment in moments:
        keys = {"stream", "from_s", "to_s", "score", "block_id", "captured_at", "text", "strange"}
        keys |= {"unsure"}
        assert set(moment) == keys
        assert 0 <= moment["from_s"] <= moment["to_s"] < 12
        assert -1 <= moment["score"] <= 1


def test_streams_and_a_span_can_be_chosen(store):
    one, _ = ids_of(store)
    span = ("--from", "0:03", "--to", "0:06")
    run = vstream("search", "a square", "--store", store, "--stream", one, *span, "--json")
    moments = run.document["moments"]
    assert moments
    for moment in moments:
        assert moment["stream"] == one
        assert 3 <= moment["from_s"] <= moment["to_s"] <= 6
    both = [part for stream in ids_of(store) for part in ("--stream", stream)]
    every = vstream("search", "a square", "--store", store, "--json").document
    assert vstream("search", "a square", "--store", store, *both, "--json").document == every


def test_a_person_sees_a_table(store):
    run = vstream("search", "a square", "--store", store, "--top", "2")
    assert run.code == 0, run.err
    heading, *rows = run.out.splitlines()
    assert heading.split() == ["stream", "from", "to", "score"]
    assert 1 <= len(rows) <= 2
    assert all(row.split()[0] in ids_of(store) for row in rows)
    run = vstream("search", "a square", "--store", store, "--from", "5:00")
    assert (run.code, run.out) == (0, "")
    assert "nothing is kept of that time" in run.err


def test_streams_of_another_model_are_named_and_left_out(folder, tmp_path):
    shutil.copytree(folder / "store", tmp_path / "store")
    foreign, own = sorted((tmp_path / "store").iterdir())
    description = read_checked(foreign / "stream.json")
    _, *rest = description["fingerprint"].split()
    description["fingerprint"] = " ".join(["another-model", *rest])
    write_checked(foreign / "stream.json", description)
    assert rest
    store = f"file://{tmp_path}/store"
    run = vstream("search", "a square", "--store", store, "--json")
    assert run.code == 0, run.err
    assert "another-model" in run.err
    assert list(run.document["skipped"]) == [foreign.name]
    assert {moment["stream"] for moment in run.document["moments"]} == {own.name}
    run = vstream("search", "a square", "--store", store, "--stream", foreign.name)
    assert run.code == 1
    assert "none of the streams can be searched" in run.err


def test_a_stream_that_cannot_be_read_is_named_and_left_out(folder, tmp_path):
    shutil.copytree(folder / "store", tmp_path / "store")
    damaged, own = sorted((tmp_path / "store").iterdir())
    for segment in (damaged / "segments").iterdir():
        segment.write_bytes(as_of_a_newer_version(segment.read_bytes()))
    run = vstream("search", "a square", "--store", f"file://{tmp_path}/store", "--json")
    assert run.code == 0, run.err
    assert list(run.document["skipped"]) == [damaged.name]
    assert {moment["stream"] for moment in run.document["moments"]} == {own.name}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a cup",), "memory:// is gone once its process ends"),
        (("a cup", "--store", "file:///nowhere/at/all"), "there is no such folder"),
        ((" ", "--store", "file:///nowhere"), "search is empty"),
        (("a cup", "--from", "9", "--to", "1"), "is before"),
        (("a cup", "--from", "soon"), "is not a time"),
    ],
)
def test_what_cannot_be_searched_is_told_in_one_line(arguments, told):
    run = vstream("search", *arguments)
    assert run.code == 1
    assert told in run.err
    assert len(run.err.strip().splitlines()) == 1


def test_a_stream_that_is_not_there_is_said_to_be_missing(store):
    run = vstream("search", "a cup", "--store", store, "--stream", "nobody")
    assert run.code == 1
    assert "there is no such stream" in run.err
