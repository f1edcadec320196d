"""A family that another package gives is found by its name, and answers from its checkpoint."""

import json
import sys

import pytest
from engine import open_session, stream_frames
from tiny_checkpoints import save_tiny_checkpoint

from vstream import ModelError, load_video_llm

QUICK = {"window_frames": 16, "window_stride": 8, "recent_frames": 4, "retrieve_blocks": 2}
MODULE = """
from encoders.families.llava_onevision import LlavaOneVision


class Otter(LlavaOneVision):
    name = "otter"

    def text(self, token_ids):
        return "otters say: " + super().text(token_ids)
"""


@pytest.fixture
def checkpoint(tmp_path):
    directory = save_tiny_checkpoint("llava_onevision", tmp_path / "checkpoint")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "vstream_family": "otter"}))
    return str(directory)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package on the path, as pip would."""

    def installed(module):
        (tmp_path / "otter_family.py").write_text(module)
        info = tmp_path / "otter-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: otter\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[vstream.families]\notter = otter_family:Otter\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    yield installed
    sys.modules.pop("otter_family", None)


def test_it_answers_from_a_checkpoint_that_names_it(checkpoint, install):
    with pytest.raises(ModelError, match=r"no family is known for otter\. Known families: embedd"):
        load_video_llm(checkpoint, device="cpu")
    install(MODULE)
    model = load_video_llm(checkpoint, device="cpu")
    assert model.family.name == "otter"
    assert model.fingerprint.startswith("otter-")
    session = open_session(model, **QUICK)
    session.push(stream_frames(8))
    assert session.ask("what is the red cup?").answer.text.startswith("otters say: ")


def test_one_that_cannot_be_loaded_is_told_in_a_line(checkpoint, install):
    install("raise ImportError('no otters here:\\n  catch some')")
    with pytest.raises(ModelError) as told:
        load_video_llm(checkpoint, device="cpu")
    assert str(told.value) == (
        f"cannot use the model {checkpoint}: model family 'otter' of otter cannot be loaded: "
        "no otters here: catch some"
    )
