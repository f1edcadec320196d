"""A policy and a family of another package are used wherever ours are, and nothing of ours changes.

The package is a folder on the path, laid out as pip would: two modules and their entry points.
"""

import copy
import json
import shutil
import sys

import pytest
import torch
from processes import Process
from service import running_service
from synthetic_video import write_video
from tiny_checkpoints import save_tiny_files, tiny_model
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner
from video_frames import frames_of

from eval.commands import cli
from eval.run.scored import read_scored
from vstream import ModelError, VStreamConfig, load_video_llm, open_session

POLICY = """
from memory.policies.default import Default
from memory.policies.policy import Card


class EverySecond(Default):
    name = "every_second"
    card = Card(paper="none", keeps="every block; a question reads every second one")

    def select(self, layer, query, past):
        return sorted(past.ids[::-2][: self.retrieve_blocks()])
"""
FAMILY = """
from encoders.families.llava_onevision import LlavaOneVision


class Otter(LlavaOneVision):
    name = "otter"

    def text(self, token_ids):
        return "otters say: " + super().text(token_ids)
"""
ENTRY_POINTS = """
[vstream.policies]
every_second = other_policy:EverySecond

[vstream.families]
otter = other_family:Otter
"""
ASKED = "what do you see now?"
SMALL = {"recent_frames": 4, "retrieve_blocks": 6}
READ = {*range(25, 37, 2), *range(36, 40)}
"""Seconds of a clip of 40: every second of those before the newest four, six of them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    (folder / "other_policy.py").write_text(POLICY)
    (folder / "other_family.py").write_text(FAMILY)
    about = folder / "other-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def installed(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    yield
    for module in ("other_policy", "other_family"):
        sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Of one layer, and of that family."""
    config = copy.deepcopy(tiny_model("llava_onevision").config)
    config.text_config.num_hidden_layers = 1
    config.text_config.layer_types = config.text_config.layer_types[:1]
    directory = tmp_path_factory.mktemp("otter")
    torch.manual_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(directory)
    save_tiny_files("llava_onevision", directory)
    written = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**written, "vstream_family": "otter"}))
    stops = {"eos_token_id": list(range(0, 1000, 2))}  # a random model would talk on
    (directory / "generation_config.json").write_text(json.dumps(stops))
    return directory


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", num_frames=400, fps=10)


def test_the_command_line_lists_it_and_answers_with_both(folder, checkpoint, clip):
    listing = Process("policies", "--json", PYTHONPATH=str(folder))
    assert listing.wait(300) == 0, "".join(listing.err)
    assert '"every_second"' in "".join(listing.out)
    settings = [part for pair in SMALL.items() for part in ("--policy-set", "{}={}".format(*pair))]
    options = ["--model", checkpoint, "--policy", "every_second", *settings, "--json"]
    asked = Process("ask", clip, ASKED, *options, warm=False, PYTHONPATH=str(folder))
    assert asked.wait(300) == 0, "".join(asked.err)
    document = json.loads(asked.out[-1])
    assert document["answer"].startswith("otters say:")
    assert {one["start_s"] for one in document["evidence"]} == READ


def test_the_service_keeps_and_answers_with_both(installed, checkpoint, clip):
    model = load_video_llm(str(checkpoint), sample_fps=1.0)
    spec = {"id": "door", "source": {"url": str(clip), "speed": "max"}, "policy": "every_second"}
    with running_service(model=model, allow_files=[clip.parent]) as service:
        service.post("/v1/streams", {**spec, "policy_set": SMALL})
        service.await_state("door", "ended")
        message = service.ask(ASKED, "stream://door")["choices"][0]["message"]
        assert message["content"].startswith("otters say:")
        assert {one["start_s"] for one in message["annotations"]} == READ


def test_python_opens_a_session_with_both(installed, checkpoint):
    model = load_video_llm(str(checkpoint))
    with open_session(
        VStreamConfig(policy="every_second", policy_set=SMALL), model, "own"
    ) as session:
        session.push(frames_of(40, (56, 56)))
        answer = session.ask(ASKED).answer
        assert answer.text.startswith("otters say:")
        assert {one.start_s for one in answer.evidence} == READ


def test_the_benchmark_asks_both(installed, checkpoint, tmp_path):
    size = ("--seed", "1", "--hours", "0.01", "--streams", "1", "--questions", "6")
    who = ["--contender", "policy=every_second", "--model", str(checkpoint)]
    run = CliRunner().invoke(
        cli, ["stream-world", *size, "--no-watches", *who, "--out", str(tmp_path)]
    )
    assert run.exit_code == 0, run.output
    scored = [one for one in read_scored(tmp_path) if one.policy == "every_second"]
    assert scored
    assert all(one.given.startswith("otters say:") for one in scored)


def test_a_family_that_cannot_be_loaded_is_told_in_a_line(
    folder, checkpoint, monkeypatch, tmp_path
):
    with pytest.raises(ModelError, match=r"no family is known for otter\. Known families: embedd"):
        load_video_llm(str(checkpoint), device="cpu")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "other_family.py").write_text("raise ImportError('no otters here:\\n  catch some')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModelError) as told:
        load_video_llm(str(checkpoint), device="cpu")
    assert str(told.value) == (
        f"cannot use the model {checkpoint}: model family 'otter' of other cannot be loaded: "
        "no otters here: catch some"
    )
