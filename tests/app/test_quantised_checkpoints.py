"""Checkpoints with quantised weights stream like others; one line says what else they need."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from processes import Process
from synthetic_video import write_video
from tiny_checkpoints import save_tiny_files
from tiny_gguf import write_tiny_gguf
from tiny_models import tiny_model
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, TorchAoConfig
from video_frames import frames_of

from app.server.keys import ApiKeys
from app.server.service import Phase, Service
from app.server.settings import load_settings
from eval.text_checkpoint import write_text_checkpoint
from vstream import load_config, open_session
from vstream.engine.decoder import PlainStep
from vstream.errors import ModelError
from vstream.models.video_llm import load_video_llm
from vstream.models.weight_files import weight_bytes
from vstream.models.weights import embedded_weights

NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
FAMILY = "llava_onevision"
READ = {
    "int8 of bitsandbytes": BitsAndBytesConfig(load_in_8bit=True),
    "nf4 of bitsandbytes": BitsAndBytesConfig(**NF4),
}
BESIDE = Path(sys.prefix) / "torchao"
"""Where `make` installs torchao: transformers imports it wherever it can, which takes a while."""
if find_spec("torchao") is not None:
    from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig
    from torchao.quantization.granularity import PerGroup

    READ["int8 of torchao"] = TorchAoConfig(Int8WeightOnlyConfig(version=2))
    READ["int4 of torchao"] = TorchAoConfig(IntxWeightOnlyConfig(torch.int4, PerGroup(16)))
INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": 128, "strategy": "group"}
TORCHAO = {"_type": "Int4WeightOnlyConfig", "_version": 2, "_data": {"group_size": 128}}
LAYOUTS = {
    "awq": {"bits": 4, "group_size": 128, "version": "gemm", "zero_point": True},
    "gptq": {"bits": 4, "group_size": 128, "desc_act": False, "sym": True, "damp_percent": 0.1},
    "bitsandbytes": {
        "load_in_4bit": True,
        "load_in_8bit": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8",
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
    },
    "compressed-tensors": {
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": INT4}},
    },
    "torchao": {"quant_type": {"default": TORCHAO}, "modules_to_not_convert": None},
    "fbgemm_fp8": {"activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]},
}
NEEDS = {
    "awq": "gptqmodel",
    "gptq": "optimum",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "fbgemm_fp8": "GPU",
}
"""What a machine without a GPU or the extra `quantised` lacks first."""


@pytest.fixture(scope="module", params=READ)
def packed(request, tmp_path_factory):
    """A tiny random checkpoint, quantised: its directory, and the bytes of its plain weights."""
    plain, folder = (tmp_path_factory.mktemp(name) for name in ("plain", "packed"))
    _wide_model().save_pretrained(plain)
    model = AutoModelForImageTextToText.from_pretrained(
        plain, quantization_config=READ[request.param], device_map="cpu", dtype=torch.float32
    )
    model.save_pretrained(folder)
    save_tiny_files(FAMILY, folder)
    return folder, weight_bytes(plain, 4)


def _wide_model():
    """Whose rows hold whole groups of weights."""
    config = tiny_model(FAMILY).config
    config.text_config.intermediate_size = config.vision_config.intermediate_size = 128
    config.vision_config.hidden_size = 64
    return AutoModelForImageTextToText.from_config(config, dtype=torch.float32)


def test_packed_weights_stream_frame_by_frame_as_at_once(packed):
    folder, plain_bytes = packed
    model = load_video_llm(str(folder), "cpu", "float32")
    assert model.decoder.quantised_by in ("bitsandbytes", "torchao")
    assert weight_bytes(folder, 4) < 0.7 * plain_bytes
    frames, keys = frames_of(6), []
    for size in (1, len(frames)):
        with open_session(load_config(), model, f"by-{size}") as session:
            for first in range(0, len(frames), size):
                session.push(frames[first : first + size])
            keys.append(session.memory.representative_keys(session.memory.visible(None)))
            assert session.ask("what is shown?").answer.token_ids
    assert (keys[0] - keys[1]).abs().max() < 0.02 * keys[1].abs().max()  # they round by themselves


def test_packed_weights_of_torchao_do_too():
    """In a process that finds torchao."""
    if not BESIDE.is_dir() and "CI" not in os.environ:
        pytest.skip("torchao is not installed: make test installs it")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-k", "torchao and (stream or exact)", __file__],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(BESIDE)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in run.stdout, run.stdout + run.stderr


def test_a_hook_that_is_not_exact_is_refused_and_the_bound_is_told(packed, monkeypatch):
    attend = PlainStep.attend
    monkeypatch.setattr(PlainStep, "attend", lambda *given: 3 * attend(*given))
    with pytest.raises(ModelError, match=r"logits differ by .* of the largest, more than 0\.1"):
        load_video_llm(str(packed[0]), "cpu", "float32")


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory):
    """A llama of one layer with random weights, and a tokenizer of its bytes."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_tiny_gguf(path)
    return path


def test_a_gguf_file_answers_as_the_checkpoint_that_it_converts_to(gguf_file, tmp_path):
    write_text_checkpoint(gguf_file, tmp_path / "converted")
    said = []
    for name in (gguf_file, tmp_path / "converted"):
        model = load_video_llm(str(name), "cpu", "float32")
        assert model.family.name == "text"
        with open_session(load_config(), model, "text") as session:
            session.push_text("the key is 7 and the door is red " * 8)
            said.append(session.ask("what is the key?").answer.token_ids)
    assert said[0] == said[1]
    assert len(said[0]) > 0


def test_a_gguf_file_that_is_none_is_refused(tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"broken\.gguf"):
        load_video_llm(str(broken), "cpu")


def save_quantised(folder, quantization):
    """The embedded checkpoint, said to be quantised."""
    for file in embedded_weights().iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file)
    config = json.loads((embedded_weights() / "config.json").read_text())
    config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def quantised(folder, method):
    return save_quantised(folder, {"quant_method": method, **LAYOUTS[method]})


def require_told(line, method):
    assert "cannot use the model" in line
    assert NEEDS[method] in line
    assert "\n" not in line.strip()


@pytest.mark.parametrize("method", LAYOUTS)
def test_what_a_quantised_checkpoint_needs_is_named(method, tmp_path, monkeypatch):
    for installed in ("bnb_4bit.is_bitsandbytes_available", "torchao.is_torchao_available"):
        monkeypatch.setattr(f"transformers.quantizers.quantizer_{installed}", lambda: False)
    with pytest.raises(ModelError) as refused:
        load_video_llm(str(quantised(tmp_path, method)))
    require_told(str(refused.value), method)


@pytest.mark.parametrize("quantization", ["awq", ["awq"], {"quant_method": "gptq"}])
def test_what_is_no_description_of_quantised_weights_is_refused(quantization, tmp_path):
    with pytest.raises(ModelError, match="cannot load the checkpoint"):
        load_video_llm(str(save_quantised(tmp_path, quantization)))


def test_weights_quantised_in_a_way_that_nothing_here_knows_are_refused(tmp_path):
    """Without the scales beside them their numbers mean nothing."""
    unknown = {"quant_method": "modelopt", "quant_algo": "NVFP4"}
    with pytest.raises(ModelError, match="modelopt"):
        load_video_llm(str(save_quantised(tmp_path, unknown)))


def test_the_command_line_says_it_in_one_line(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    video = write_video(tmp_path / "clip.mp4", num_frames=10, fps=10)
    asking = Process("ask", video, "what is shown?", "--model", quantised(model, "awq"))
    assert asking.wait() == 1
    require_told(asking.err[-1], "awq")
    assert "Traceback" not in "".join(asking.err + asking.out)


def test_a_service_that_begins_with_it_says_why_it_cannot(tmp_path):
    settings = load_settings(None, model=str(quantised(tmp_path, "gptq")), threads=1)
    service = Service(settings, ApiKeys(None))
    service.load()
    assert service.phase is Phase.FAILED
    assert isinstance(service.failure, ModelError)
    require_told(str(service.failure), "gptq")
    service.close()
