"""`vstream find`, and questions about time, on a store that `vstream ingest` has filled."""

import pytest
from command_line import vstream
from owl_stream import VISITS, write_owl_video

OWL = "an owl is there now"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("find")
    video = write_owl_video(folder / "owl.mp4")
    run = vstream("ingest", str(video), "--id", "door", "--store", f"file://{folder}/store")
    assert run.code == 0, run.err
    return f"file://{folder}/store"


def test_each_span_has_its_times_and_what_was_not_looked_at_is_said(store):
    run = vstream("find", "door", OWL, "--store", store, "--json", "--milliseconds", "60000")
    assert run.code == 0, run.err
    spans = run.document["spans"]
    found = [(span["from_s"], span["to_s"]) for span in spans]
    assert found == [(visit.start, visit.stop) for visit in VISITS]
    for span in spans:
        assert (span["stream"], span["unsure"]) == ("door", False)
        assert span["probability"] > 0.9
        assert span["to_at"] - span["from_at"] == pytest.approx(
            span["to_s"] - span["from_s"], abs=1
        )
    assert run.document["model"] == "embedded"
    assert run.document["took_s"] > 0
    parts = run.document["coverage"]["door"]
    newest_s = VISITS[-1].stop  # nothing has changed since
    assert (parts[0]["from_s"], parts[-1]["to_s"]) == (0, newest_s)


def test_a_stretch_and_an_effort_can_be_chosen(store):
    choice = ("--store", store, "--from", "0:20", "--to", "now", "--effort", "quick")
    run = vstream("find", "door", OWL, *choice, "--milliseconds", "60000")
    assert run.code == 0, run.err
    [line] = run.out.splitlines()
    assert "(0:28 to 0:36)" in line
    assert "judged" in run.err
    none = vstream("find", "door", OWL, *choice, "--judgements", "0")
    assert not none.out
    assert "was not looked at, e.g. 0:20 to 0:36" in none.err


def test_a_question_about_time_is_answered_from_them_unless_the_model_is_to_say(store):
    asked = ("ask", "door", "how many times was the owl there?", "--store", store)
    run = vstream(*asked)
    assert run.code == 0, run.err
    assert run.out.strip() == "2 times, at 0h00m08s and 0h00m28s."
    assert "'is there an owl?'" in run.err
    plan = vstream(*asked, "--json").document["plan"]
    assert (plan["kind"], plan["relation"]) == ("count", None)
    assert vstream(*asked, "--no-plan", "--json").document["plan"] is None
    now = vstream("ask", "door", "when was the owl there since 0:20?", "--store", store)
    assert now.out.strip() == "From 0h00m28s to 0h00m36s."


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (("door", OWL, "--effort", "all"), "quick, default, thorough"),
        (("door", OWL, "--from", "sometime"), "no moment"),
        (("gate", OWL), "gate"),
        (("door", " "), "empty"),
    ],
)
def test_what_cannot_be_looked_for_is_refused(store, wrong, why):
    run = vstream("find", *wrong, "--store", store)
    assert run.code == 1
    assert why in run.err
