"""A checkpoint is loaded as data, or refused in words."""

import json

import pytest
from tiny_checkpoints import save_tiny_checkpoint

from vstream import ModelError, load_video_llm


@pytest.fixture
def checkpoint(tmp_path):
    return save_tiny_checkpoint("llava_onevision", tmp_path / "tiny")


def damage(directory):
    (directory / "model.safetensors").write_bytes(b"no safetensors")


def pickle(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def adapt(directory):
    (directory / "adapter_config.json").write_text('{"base_model_name_or_path": "/"}')


def empty(directory):
    (directory / "config.json").unlink()


def take_words(directory):
    (directory / "tokenizer.json").write_text("{}")


def swell(directory):
    change(directory, filler=" " * (5 << 20))


def mistype(directory):
    change(directory, text_config="none")


def divide_by_zero(directory):
    config = json.loads((directory / "config.json").read_text())
    change(directory, text_config=config["text_config"] | {"num_attention_heads": 0})


def pile_up(directory):
    """Name more layers than memory has room for."""
    config = json.loads((directory / "config.json").read_text())
    change(directory, vision_config=config["vision_config"] | {"num_hidden_layers": 10**9})


def nest(directory):
    change(directory, filler=None)
    text = (directory / "config.json").read_text()
    (directory / "config.json").write_text(text.replace("null", "[" * 100_000 + "]" * 100_000, 1))


def change(directory, **changes):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(changes | config | changes))


def bring_code(directory):
    """Make it one of an unknown kind that brings code along, which says so if it is run."""
    config = json.loads((directory / "config.json").read_text())
    classes = {"AutoConfig": "their_code.Config", "AutoModelForImageTextToText": "their_code.Model"}
    config |= {"model_type": "unheard_of", "auto_map": classes}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "their_code.py").write_text(f"open({str(directory / 'has_run')!r}, 'w').close()\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty, "no checkpoint: it has no config.json"),
        (damage, "cannot load the checkpoint"),
        (pickle, "cannot load the checkpoint"),
        (adapt, "merge it into its model first"),
        (bring_code, "contains custom code"),
        (swell, "its config.json has 52"),
        (mistype, "cannot load the checkpoint"),
        (divide_by_zero, "cannot load the checkpoint"),
        (pile_up, "more than 10,000 layers"),
        (nest, "cannot load the checkpoint"),
        (take_words, "cannot use the model"),
    ],
)
def test_what_cannot_be_loaded_is_refused(checkpoint, spoil, words):
    spoil(checkpoint)
    with pytest.raises(ModelError, match=words):
        load_video_llm(str(checkpoint))
    assert not (checkpoint / "has_run").exists()
