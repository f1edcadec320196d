"""Checkpoints with quantised weights that need what is not installed: one line says what."""

import json

import pytest
from processes import Process
from synthetic_video import write_video

from app.server.keys import ApiKeys
from app.server.service import Phase, Service
from app.server.settings import load_settings
from vstream.errors import ModelError
from vstream.models.video_llm import load_video_llm
from vstream.models.weights import embedded_weights

INT4 = {"num_bits": 4, "type": "int", "symmetric": True, "group_size": 128, "strategy": "group"}
TORCHAO = {"_type": "Int4WeightOnlyConfig", "_version": 1, "_data": {"group_size": 128}}
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
"""What a machine without a card, which has the extra `text`, lacks first."""


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
def test_what_a_quantised_checkpoint_needs_is_named(method, tmp_path):
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
    settings = load_settings(None, model=str(quantised(tmp_path, "bitsandbytes")), threads=1)
    service = Service(settings, ApiKeys(None))
    service.load()
    assert service.phase is Phase.FAILED
    assert isinstance(service.failure, ModelError)
    require_told(str(service.failure), "bitsandbytes")
    service.close()
