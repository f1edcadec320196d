"""Questions that want something found: read out of the official prompt, answered by `find`, told as
the official scorer reads it.
"""

import json

import pytest
from etbench_fixture import answered, load
from owl_stream import LENGTH_S, VISITS, write_owl_video
from typer.testing import CliRunner

from eval.commands import cli
from eval.etbench.answers import answer_times
from eval.etbench.grounding import sought_in
from eval.etbench.sample import Sample
from eval.etbench.time_scores import answer_moment
from eval.play.contender import parse_contenders
from vstream import FoundSpan, SettingsError

OWL = "an owl is there now"
NOWHERE = "a burger is there now"
SEEKING = {"tvg", "epm", "tal", "vhd"}
LEADS = {
    "tvg": "You are given a video. Watch the video carefully and find a visual event described by "
    "the sentence: '{}'. The format of your response should be: 'The event happens in <start "
    "time> - <end time>'.",
    "tal": "Detect all the moments containing '{}'. The format of your response should be: "
    "'<start time> - <end time>, ...'.",
    "vhd": "Identify the highlights of '{}'. The format of your response should be: 'The highlight "
    "moment happens at <time>'.",
    "evs": "Summarize this video to 15% of the total length. The format of your response should "
    "be: '<start time> - <end time>, ...'.",
}
LEADS["epm"] = LEADS["tvg"]


def span(from_s, to_s, probability, at_s=0.0):
    return FoundSpan("", from_s, to_s, 0.0, 0.0, probability, 0, at_s, 0.0, True)


def sought(task, statement=OWL):
    return sought_in(answered(task, "", tgt=[0, 1], q=LEADS[task].replace("{}", statement)).sample)


def test_what_is_quoted_is_sought_and_all_else_is_left_to_the_model():
    for entry in load("annotations.json"):
        if "The format of your response" not in entry["q"]:
            continue  # made for the scorer alone
        found = sought_in(Sample.model_validate(entry))
        assert (found is not None) == (entry["task"] in SEEKING), entry["q"]
        if found is not None:
            assert f"'{found.statement}'. The format" in entry["q"]


@pytest.mark.parametrize("statement", ["she can't see the dog's toy", "a man's hat.", "x 'y' z"])
@pytest.mark.parametrize("task", sorted(SEEKING))
def test_apostrophes_are_part_of_what_is_quoted(task, statement):
    assert sought(task, statement).statement == statement


def test_a_prompt_of_another_form_seeks_nothing():
    assert sought_in(answered("tvg", "", tgt=[0, 1], q="When does the man pour?").sample) is None


def test_spans_are_told_so_that_the_official_reader_reads_them():
    spans = [span(1.0, 4.0, 0.99, 2.5), span(7.25, 9.0, 0.999, 8.0), span(12.0, 30.0, 0.98)]
    for task in ("tvg", "epm"):
        assert sought(task).answer(spans) == "The event happens in 7.2 - 9.0"
        assert answer_times(sought(task).answer(spans)) == ((7.2, 9.0),)
    assert answer_times(sought("tal").answer(spans)) == ((1.0, 4.0), (7.2, 9.0), (12.0, 30.0))
    assert answer_moment(sought("vhd").answer(spans)) == 8.0


def test_only_where_something_is_sought_there_is_who_finds_it():
    [one] = parse_contenders(["policy=find"], seeks=True)
    assert (one.name, one.opened_under, one.is_watching) == ("find", "default", True)
    assert "find" in [one.name for one in parse_contenders(["policy=all"], seeks=True)]
    with pytest.raises(SettingsError, match="'find' is none of"):
        parse_contenders(["policy=find"])


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A folder as published with videos of an owl that comes and goes, and what came of a run."""
    data, out = tmp_path_factory.mktemp("etbench"), tmp_path_factory.mktemp("run")
    entries = [
        {
            "task": task,
            "source": "drawn",
            "idx": idx,
            "video": "drawn/owl.mp4",
            "duration": float(LENGTH_S),
            "q": LEADS[task].replace("{}", statement),
            "tgt": [[visit.start, visit.stop] for visit in VISITS],
        }
        for idx, (task, statement) in enumerate(
            [*((task, OWL) for task in sorted(LEADS)), ("tvg", NOWHERE)]
        )
    ]
    (data / "videos/drawn").mkdir(parents=True)
    write_owl_video(data / "videos/drawn/owl.mp4")
    (data / "annotations").mkdir()
    (data / "annotations/etbench_txt_v1.0.json").write_text(json.dumps(entries))
    words = ["etbench", "--data", data, "--model", "embedded", "--out", out, "--json"]
    words += ["--contender", "policy=default", "--contender", "policy=find", "--max-tokens", 24]
    done = CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": "1000"})
    assert done.exit_code == 0, done.output
    return data, out, json.loads(done.stdout.strip().splitlines()[-1])


def answers(out, policy):
    entries = json.loads((out / f"{policy}.predictions.json").read_text())
    return {(entry["task"], entry["idx"]): entry["a"] for entry in entries}


def test_a_model_that_finds_it_answers_with_its_times(played):
    _, out, document = played
    found = document["policies"]["find"]["overall"]
    assert found["TAL_F1"] == found["VHD_F1"] == found["EPM_F1"] == 1.0
    said = {task: a for (task, _), a in answers(out, "find").items() if task != "evs"}
    assert answer_times(said["tal"]) == tuple((one.start, one.stop) for one in VISITS)


def test_what_is_not_sought_or_not_found_is_asked_as_of_default(played):
    _, out, _ = played
    by_find, by_default = answers(out, "find"), answers(out, "default")
    same = {key for key, answer in by_find.items() if answer == by_default[key]}
    assert same == {("evs", 1), ("tvg", 5)}


def test_the_prediction_file_is_scored_as_the_run_was(played):
    data, out, document = played
    words = ["etbench", "--score-only", "--json", "--predictions", out / "find.predictions.json"]
    words += ["--annotations", data / "annotations/etbench_txt_v1.0.json"]
    done = CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": "1000"})
    assert json.loads(done.stdout.strip().splitlines()[-1]) == document["policies"]["find"]
