import json
import re

import pytest
import torch
from plain_model import PlainModel, PlainSession
from transformers import AutoConfig, AutoTokenizer

from eval.stream_world import Renderer, write_script
from eval.stream_world.vocabulary import clock
from eval.training.train import visual_tokens
from vstream.models.weights import embedded_weights


@pytest.fixture(scope="module")
def weights() -> PlainModel:
    return PlainModel(embedded_weights())


def test_the_checkpoint_is_small_and_names_its_family() -> None:
    assert (embedded_weights() / "model.safetensors").stat().st_size < 25e6
    assert AutoConfig.from_pretrained(embedded_weights()).vstream_family == "embedded"


def test_the_chat_template_writes_video_question_and_dialogue_as_in_training() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_weights())
    video, text = {"type": "video"}, {"type": "text", "text": "is there a dog now?"}
    messages = [
        {"role": "user", "content": [video, text]},
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        {"role": "user", "content": "where is the dog?"},
    ]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == (
        "<|bos|><image><|user|>is there a dog now?<|assistant|> yes<|end|>"
        "<|user|>where is the dog?<|assistant|>"
    )


def test_a_time_is_three_tokens_and_a_question_ends_before_its_answer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_weights())
    for time_s in (0, 59, 3_600, 7 * 3_600 + 61):
        assert len(tokenizer(clock(time_s), add_special_tokens=False).input_ids) == 3
    assert tokenizer.eos_token == "<|end|>"
    settings = json.loads((embedded_weights() / "generation_config.json").read_text())
    assert settings["eos_token_id"] == tokenizer.eos_token_id


def test_batched_visual_tokens_are_those_of_get_image_features(weights: PlainModel) -> None:
    pixels = torch.rand(3, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        batched = visual_tokens(weights.model, pixels)
        alone = [weights.model.get_image_features(p[None, None]).pooler_output[0] for p in pixels]
    torch.testing.assert_close(batched, torch.stack(alone), atol=1e-4, rtol=1e-4)


def test_a_plain_grey_frame_has_its_nine_tokens_too(weights: PlainModel) -> None:
    with torch.inference_mode():
        assert visual_tokens(weights.model, torch.zeros(2, 3, 96, 96)).shape == (2, 9, 256)


def test_the_model_reads_the_present_of_an_unseen_stream(weights: PlainModel) -> None:
    renderer, right = Renderer(), 0
    for seed in range(300, 306):
        moments = write_script(seed, 12).moments
        session = PlainSession(weights)
        session.watch(
            weights.frames([renderer.frame(m) for m in moments], [m.time_s for m in moments])
        )
        answer = session.ask("how many objects are visible now?")
        right += answer == str(len(moments[-1].items))
        assert session.ask("how many objects are visible now?") == answer
    assert right >= 5


def test_the_model_card_names_every_licence_and_its_measurements() -> None:
    card = (embedded_weights() / "README.md").read_text(encoding="utf-8")
    for word in ("MIT", "Apache-2.0", "CC-BY 4.0", "python -m eval stream-world"):
        assert word in card
    assert re.search(r"\| all \| \d+ \|", card)
