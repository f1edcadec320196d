"""A checkpoint is loaded beside a model that goes on working."""

import torch
from tiny_checkpoints import save_tiny_checkpoint

from vstream.models.video_llm import load_checkpoint


class _Turn:
    """Notes when it is taken and given back, and which default dtype is set meanwhile."""

    def __init__(self):
        self.seen = []

    def __enter__(self):
        self.seen.append("taken")

    def __exit__(self, *error):
        self.seen.append("given back")


def test_the_default_dtype_is_another_only_while_the_turn_is_held(tmp_path, monkeypatch):
    """Whoever else runs a model in this process would compute in that dtype."""
    turn, set_default_dtype = _Turn(), torch.set_default_dtype
    tensors_of = torch.nn.Module.to

    def noted(dtype):
        turn.seen.append(dtype)
        set_default_dtype(dtype)

    def moved(module, *where):
        turn.seen.append("weights are there")
        return tensors_of(module, *where)

    monkeypatch.setattr(torch, "set_default_dtype", noted)
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    save_tiny_checkpoint("llava_onevision", tmp_path)
    turn.seen.clear()
    model = load_checkpoint(tmp_path, "tiny", dtype="bfloat16", beside=turn)
    assert model.decoder.dtype == torch.bfloat16
    end = turn.seen.index("given back")
    held, after = turn.seen[:end], turn.seen[end:]
    assert held[0] == "taken"
    assert torch.bfloat16 in held
    assert held[-1] == torch.float32
    assert "weights are there" in after
    assert "weights are there" not in held
    assert torch.bfloat16 not in after
