"""The official ReKV code's results, case by case, from the directory VSTREAM_REKV_FIXTURE."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlavaOnevisionForConditionalGeneration

from encoders import TextTokens, VisualTokens
from memory import BlockInfo, KVBlock, MemoryConfig, ModelShape, open_memory, policy_named
from vstream.engine.decoder import Decoder
from vstream.engine.question_prefill import QuestionPrefill
from vstream.engine.rekv import RekvContext, RekvPrefill
from vstream.engine.retrieval import view_at

FIXTURE = Path(os.environ.get("VSTREAM_REKV_FIXTURE", Path(__file__).parents[1] / "data" / "rekv"))
CASES = json.loads((FIXTURE / "cases.json").read_text())
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def expected():
    return load_file(FIXTURE / "expected.safetensors")


@pytest.fixture(scope="module")
def model():
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(FIXTURE, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def decoder(model):
    return Decoder(model)


@pytest.fixture(scope="module")
def frames(model, expected):
    """The visual tokens of every frame of the fixture, encoded one by one."""
    tokens = []
    with torch.inference_mode():
        for index, pixels in enumerate(expected["pixel_values"].float()):
            features = model.get_video_features(
                pixels[None, None],
                vision_feature_layer=model.config.vision_feature_layer,
                vision_feature_select_strategy=model.config.vision_feature_select_strategy,
            ).pooler_output[0]
            count = CASES["tokens_per_frame"]
            features = features[:count]  # without image_newline, which newer releases append
            tokens.append(
                VisualTokens(
                    embeddings=features,
                    positions=torch.arange(count)[None],
                    advance=torch.tensor([count]),
                    is_visual=torch.ones(count, dtype=torch.bool),
                    start_s=float(index),
                    end_s=float(index),
                )
            )
    return tokens


def text(decoder, ids):
    return TextTokens(decoder.embed(torch.tensor(ids)), torch.ones(len(ids), dtype=torch.bool))


def difference(ours, theirs):
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("case", CASES["cases"], ids=lambda case: case["name"])
@torch.inference_mode()
def test_rekv_mode_reproduces_the_official_run(case, decoder, frames, expected):
    settings = {
        "window_tokens": case["n_local"],
        "retrieve_blocks": case["topk"],
        "retrieve_runs_of": case["chunk_size"],
        "similarity": "inner_product",
    }
    policy = policy_named("rekv", ModelShape(), settings)
    prefill = RekvPrefill(decoder, text(decoder, CASES["init_ids"]), case["n_local"])
    memory = open_memory(
        MemoryConfig(codec="exact"),
        stream_id="fixture",
        fingerprint="fixture",
        layers=decoder.num_layers,
        kv_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        device=decoder.device,
    )
    logits = []
    seen = frames[: case["frames"]]
    for start in range(0, len(seen), case["enc_chunk"]):
        chunk = seen[start : start + case["enc_chunk"]]
        layers, hidden = prefill.encode(chunk)
        logits.append(decoder.logits(hidden))
        for tokens, kv in zip(chunk, layers, strict=True):
            info = BlockInfo(tokens.start_s, tokens.end_s, 0.0, tokens.positions, tokens.advance)
            keys, values = zip(*kv, strict=True)
            memory.append(KVBlock(info, torch.stack(keys), torch.stack(values)))
    name = case["name"]
    theirs = expected[f"{name}.frame_logits"].flatten(0, -2)
    assert difference(torch.cat(logits), theirs) <= TOLERANCE

    def open_context(room):
        return RekvContext(decoder, prefill.prefix, memory, room, n_local=case["n_local"])

    limit = len(case["output"]) + 1
    view = view_at(memory, None, policy.recent_blocks())
    by_layer = {"retrieve_blocks": case["topk"], "retrieve_runs_of": case["chunk_size"]}
    one_pass = policy_named("default", ModelShape(recent_frames=0), by_layer)
    questions = QuestionPrefill(decoder, memory, open_context, one_pass, limit)
    question = questions.run(text(decoder, case["question"]), view)
    assert question.retrieved == case["retrieved"]
    theirs = expected[f"{name}.question_logits"].flatten(0, -2)
    assert difference(question.logits, theirs) <= TOLERANCE

    if case["prompt"][: len(case["question"])] == case["question"]:
        own = torch.arange(len(case["prompt"])) < len(case["question"])
        whole = TextTokens(text(decoder, case["prompt"]).embeddings, own)
        by_itself = QuestionPrefill(decoder, memory, open_context, policy, limit).run(whole, view)
        assert by_itself.retrieved == case["retrieved"], "the mode as a session runs it"
        theirs = expected[f"{name}.prompt_logits"].flatten(0, -2)
        assert difference(by_itself.logits, theirs) <= TOLERANCE

    prompt = questions.run(text(decoder, case["prompt"]), view, question.retrieved)
    theirs = expected[f"{name}.prompt_logits"].flatten(0, -2)
    assert difference(prompt.logits, theirs) <= TOLERANCE

    token = prompt.logits[-1:].argmax(dim=-1)
    output, decode_logits = [int(token)], []
    for _ in expected[f"{name}.decode_logits"].flatten(0, -2):
        decode_logits.append(decoder.logits(decoder.forward(decoder.embed(token), prompt.context)))
        token = decode_logits[-1].argmax(dim=-1)
        output.append(int(token))
    theirs = expected[f"{name}.decode_logits"].flatten(0, -2)
    assert difference(torch.cat(decode_logits), theirs) <= TOLERANCE
    assert output == case["output"]
