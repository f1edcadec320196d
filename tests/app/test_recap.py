"""`vstream recap` on a store that `vstream ingest` has filled."""

import pytest
from command_line import vstream
from owl_stream import VISITS, write_owl_video


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recap")
    video = write_owl_video(folder / "owl.mp4")
    for name in ("door", "gate"):
        run = vstream("ingest", str(video), "--id", name, "--store", f"file://{folder}/store")
        assert run.code == 0, run.err
    return f"file://{folder}/store"


def test_all_streams_are_told_of_in_time_order(store):
    run = vstream("recap", "--from", "yesterday", "--to", "now", "--store", store, "--json")
    assert run.code == 0, run.err
    document = run.document
    assert document["title"].startswith("4 things came or left: door, gate, ")
    entries = document["entries"]
    assert {entry["stream"] for entry in entries} == {"door", "gate"}
    assert not any(entry["unsure"] for entry in entries)
    assert (document["model"], document["strange"]) == ("embedded", {})
    assert sorted(entry["from_at"] for entry in entries) == [one["from_at"] for one in entries]
    assert sorted({(one["from_s"], one["to_s"]) for one in entries}) == [
        (visit.start, visit.stop) for visit in VISITS
    ]


def test_a_stream_can_be_chosen_and_each_line_says_when_and_what(store):
    run = vstream("recap", "--streams", "gate", "--store", store, "--effort", "quick")
    assert run.code == 0, run.err
    title, first, second = run.out.splitlines()
    assert title.startswith("2 things came or left: gate, ")
    assert "  gate  " in first
    assert "owl" in first
    assert "(0:08 to 0:16)" in first
    assert ", still " in second or "(0:28 to 0:36)" in second
    assert "runs of blocks and judged" in run.err
    nothing = vstream("recap", "--to", "-9d", "--store", store)
    assert nothing.out.startswith("no things came or left")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (("--effort", "all"), "quick, default, thorough"),
        (("--from", "sometime"), "no moment"),
        (("--streams", "yard"), "yard"),
        (("--zone", "Prague"), "zone"),
    ],
)
def test_what_cannot_be_told_of_is_refused(store, wrong, why):
    run = vstream("recap", *wrong, "--store", store)
    assert run.code == 1
    assert why in run.err
