"""The whole published score: each number of the official scorer, and what it calls them."""

import json

import pytest
from etbench_fixture import FOLDER, load
from typer.testing import CliRunner

from eval.commands import cli

SIDE_FIGURES = ("METEOR", "SentSim")
WITH_CHANCE = ("Sim_cap", "DVC_Sim", "SLC_Sim")
SIM_TOLERANCE = 0.6


@pytest.fixture(scope="module", params=["whole", "subset"])
def run(request):
    """The document that the command ends with, and the official one."""
    subset = ["--subset", FOLDER / "subset.json"] if request.param == "subset" else []
    files = ["--annotations", FOLDER / "annotations.json", "--predictions"]
    command = ["etbench", "--score-only", "--json", *files, FOLDER / "predictions.json", *subset]
    done = CliRunner().invoke(cli, list(map(str, command)))
    assert done.exit_code == 0, done.output
    official = "official_scores_subset.json" if subset else "official_scores.json"
    return json.loads(done.stdout.strip().splitlines()[-1]), load(official)


def test_every_number_is_the_official_one(run):
    document, official = run
    compared = 0
    for task, sources in official["by_task_source"].items():
        for source, figures in sources.items():
            ours = document["by_task_source"][task][source]
            for name, figure in figures.items():
                if name not in SIDE_FIGURES:
                    assert ours[name] == pytest.approx(figure, abs=1e-5), (task, source, name)
                    compared += 1
    for kind in ("overall", "merged_unrounded"):
        for name, number in official[kind].items():
            if name not in WITH_CHANCE:
                assert document[kind][name] == pytest.approx(number, abs=1e-5), name
                compared += 1
    assert compared > 100


def test_the_caption_similarity_is_the_mean_of_the_official_ones(run):
    document, official = run
    ours = document["merged_unrounded"]["Sim_cap"]
    assert ours == pytest.approx(official["merged_unrounded"]["Sim_cap"], abs=2 * SIM_TOLERANCE)
    seeds = official.get("sentsim_over_32_seeds")
    if seeds is not None:
        assert ours == pytest.approx(seeds["Sim_cap"]["mean"], abs=SIM_TOLERANCE)
        for group, found in seeds.items():
            if group == "Sim_cap":
                continue
            task, source = group.split("/")
            similarity = document["by_task_source"][task][source]["SentSim"]
            assert similarity == pytest.approx(found["mean"], abs=0.003), group


def test_the_document_has_the_official_names_in_their_order(run):
    document, official = run
    assert list(document)[:3] == ["merged_unrounded", "overall", "by_task_source"]
    for kind in ("merged_unrounded", "overall"):
        assert list(document[kind]) == list(official[kind])
    for task, sources in official["by_task_source"].items():
        for source, figures in sources.items():
            assert list(document["by_task_source"][task][source]) == list(figures)
    assert document["unanswered"] == 0


def test_the_word_program_alone_is_not_reproduced(run):
    document, _ = run
    assert document["by_task_source"]["dvc"]["hirest"]["METEOR"] is None
