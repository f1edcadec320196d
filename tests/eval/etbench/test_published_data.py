"""The published folder and the files of a score: what is read, and what is named when it is not."""

import json

import pytest
from etbench_fixture import FOLDER, answered, load
from typer.testing import CliRunner

from eval.commands import cli
from eval.etbench.command import asked_of, prompt_of
from eval.etbench.files import (
    PUBLISHED_AT,
    PublishedData,
    join,
    read_predictions,
    read_samples,
    read_subset,
)
from eval.etbench.sample import TASKS, Sample
from eval.play.plays import TimeSpan
from vstream import SettingsError


def run(*options):
    return CliRunner().invoke(cli, ["etbench", *map(str, options)], env={"COLUMNS": "1000"})


@pytest.fixture
def folder(tmp_path):
    """The published layout with the fixture's annotations and videos without content."""
    for entry in load("annotations.json"):
        video = tmp_path / "videos" / entry["video"]
        video.parent.mkdir(parents=True, exist_ok=True)
        video.touch()
    (tmp_path / "annotations").mkdir()
    merged = tmp_path / "annotations" / "etbench_txt_v1.0.json"
    merged.write_text(json.dumps(load("annotations.json")))
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "subset.json").write_text(json.dumps(load("subset.json")))
    return tmp_path


def test_a_whole_folder_is_read(folder):
    data = PublishedData(folder)
    samples = data.samples()
    assert samples == read_samples(FOLDER / "annotations.json")
    assert {sample.task for sample in samples} == set(TASKS)
    data.require_videos(samples)
    assert data.video(samples[0]) == folder / "videos" / samples[0].video
    assert len(read_subset(data.subset())) == 46
    done = run("--data", folder)
    assert done.exit_code == 0
    assert "126 samples" in done.stdout


def test_annotations_by_task_are_the_same(folder):
    (folder / "annotations" / "etbench_txt_v1.0.json").unlink()
    (folder / "annotations" / "txt").mkdir()
    for task in TASKS:
        part = [entry for entry in load("annotations.json") if entry["task"] == task]
        (folder / "annotations" / "txt" / f"{task}.json").write_text(json.dumps(part))
    by_key = {sample.key: sample for sample in PublishedData(folder).samples()}
    assert by_key == {one.key: one for one in read_samples(FOLDER / "annotations.json")}


@pytest.mark.parametrize(
    "name", ["annotations/etbench_txt_v1.0.json", "evaluation/subset.json", "videos/v.mp4"]
)
def test_what_is_missing_is_named_with_its_place(folder, name):
    if name.startswith("videos"):
        name = f"videos/{load('annotations.json')[0]['video']}"
    (folder / name).unlink()
    done = run("--data", folder)
    assert done.exit_code == 2
    assert name in done.output
    assert PUBLISHED_AT in done.output


def test_a_compressed_video_will_do(folder):
    sample = PublishedData(folder).samples()[0]
    compressed = folder / "videos_compressed" / sample.video
    compressed.parent.mkdir(parents=True)
    (folder / "videos" / sample.video).rename(compressed)
    assert PublishedData(folder).video(sample) == compressed


def test_the_question_is_the_published_one_and_all_of_the_video_may_be_seen(folder):
    for entry in load("annotations.json"):
        sample = Sample.model_validate(entry)
        (asked,) = asked_of([sample], PublishedData(folder))
        assert asked.prompt.text == entry["q"]
        assert asked.spans == (TimeSpan(0, sample.duration),)
        prefilled = sample.task in ("rar", "eca", "rvq")
        assert asked.prompt.answer_start == ("Best Option: (" if prefilled else "")
    with pytest.raises(SettingsError, match="etbench_txt"):
        prompt_of(answered("tvg", "", tgt=[0, 1], q="What happens in <vid>?").sample)


@pytest.mark.parametrize(
    ("tgt", "spans"),
    [
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3, 4]], ((1, 2), (3, 4))),
        ([[[1, 2]], [[3, 4], [5, 6]]], ((1, 2), (3, 4), (5, 6))),
        ([[], [[1, 2]]], ((1, 2),)),
    ],
)
def test_times_are_read_flat_nested_and_by_annotator(tgt, spans):
    assert answered("vhd", "", tgt=tgt).sample.tgt == spans


@pytest.mark.parametrize("tgt", [5, "x", {}, [None], [[1, "a"]], [[1, 2], 3], [1, [2]], [[[1]]]])
def test_times_of_any_other_form_are_refused(tgt):
    with pytest.raises(ValueError, match="tgt"):
        answered("vhd", "", tgt=tgt)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda entries: entries[0].update(task="xyz"), "task"),
        (lambda entries: entries[0].update(p=9), "place of one of the options"),
        (lambda entries: entries[-1].pop("tgt"), "`tgt` is missing"),
        (lambda entries: entries[-1].update(g=[]), "one caption for each time"),
        (lambda entries: entries.append(entries[0]), "twice"),
    ],
)
def test_annotations_of_another_layout_are_refused_by_place(tmp_path, change, named):
    entries = json.loads((FOLDER / "annotations.json").read_text(encoding="utf-8"))
    change(entries)
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(SettingsError, match=named):
        read_samples(path)


def test_files_that_do_not_fit_each_other_are_refused(tmp_path):
    samples, answers = (FOLDER / "annotations.json"), (FOLDER / "predictions.json")
    with pytest.raises(SettingsError, match="not annotated"):
        join(read_samples(samples)[1:], read_predictions(answers), None)
    answered_, rest = join(read_samples(samples), read_predictions(answers)[1:], None)
    assert (len(answered_), len(rest)) == (125, 1)
    broken = tmp_path / "broken.json"
    broken.write_text("[{")
    for name in (broken, tmp_path, tmp_path / "absent.json"):
        done = run("--score-only", "--annotations", samples, "--predictions", name)
        assert done.exit_code == 2
        assert str(name) in done.output
    assert run().exit_code == 2
    assert run("--score-only", "--annotations", samples).exit_code == 2


def test_a_table_shows_the_score_and_what_has_no_answer(tmp_path):
    entry = {"task": "tvg", "source": "s", "tgt": [5, 12]}
    entries = [{**entry, "idx": idx, "a": "5 - 12" if idx else "5 - 12..."} for idx in range(3)]
    annotations, predictions = tmp_path / "annotations.json", tmp_path / "predictions.json"
    annotations.write_text(json.dumps(entries))
    predictions.write_text(json.dumps(entries[:2]))
    done = run("--score-only", "--annotations", annotations, "--predictions", predictions)
    assert done.exit_code == 0, done.output
    shown = next(line for line in done.stdout.splitlines() if "TVG_F1" in line)
    assert shown.split("│")[2].strip() == "50.0"
    assert "1 annotated samples have no answer" in done.stdout
