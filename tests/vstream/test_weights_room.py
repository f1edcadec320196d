"""A checkpoint whose weights cannot fit is refused before it is read, with both sizes."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from tiny_checkpoints import VIDEO_FAMILIES, save_tiny_checkpoint, tiny_model

from vstream import ModelError, load_video_llm
from vstream.models.weight_files import require_room, weight_bytes
from vstream.models.weights import embedded_weights

CPU = torch.device("cpu")


def free_ram(monkeypatch, num_bytes):
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: SimpleNamespace(available=num_bytes, total=num_bytes)
    )


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_as_many_are_counted_as_the_model_has(family, tmp_path):
    held = {one.data_ptr(): one.numel() for one in tiny_model(family).parameters()}
    assert weight_bytes(save_tiny_checkpoint(family, tmp_path), 2) == 2 * sum(held.values())


def test_shards_are_counted_and_files_beside_them_are_not(tmp_path):
    whole, sharded = tmp_path / "whole", tmp_path / "sharded"
    model = tiny_model(VIDEO_FAMILIES[0])
    model.save_pretrained(whole)
    model.save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    shutil.copy(whole / "model.safetensors", sharded / "consolidated.safetensors")
    assert weight_bytes(sharded, 4) == weight_bytes(whole, 4) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_fits_exactly_is_let_through_and_a_byte_less_is_not(dtype, monkeypatch):
    weights = embedded_weights()
    needed = weight_bytes(weights, dtype.itemsize)
    free_ram(monkeypatch, needed)
    require_room(weights, CPU, dtype)
    free_ram(monkeypatch, needed - 1)
    with pytest.raises(ModelError, match=r"GB in (float32|bfloat16), and 0.0 GB of RAM is free"):
        require_room(weights, CPU, dtype)


def test_loading_says_it(monkeypatch):
    free_ram(monkeypatch, 10_000_000)
    with pytest.raises(ModelError, match="no room for the weights"):
        load_video_llm(None)
