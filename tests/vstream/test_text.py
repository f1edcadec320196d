"""A stream of text: its tokens fill blocks, and answer as transformers does of the same text."""

import json

import pytest
import torch
from cited import require_sound_spans
from engine import all_logits, open_session, tiny_video_llm
from tiny_models import tiny_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from video_frames import frames_of

from encoders import EncoderError, UnsupportedModelError
from vstream import Effort, Finding, ModelError
from vstream.models.video_llm import load_video_llm

TEMPLATE = (
    "{% for m in messages %}{{'<s>' + m['role'] + ':' + m['content'] + '</s>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<s>assistant:'}}{% endif %}"
)
TEXT = "the cat sat on the mat and looked at the moon; " * 5
SIZE = 32


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny checkpoint of text whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("text")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    model = tiny_model("llama")
    model.config.vstream_family = "text"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(directory):
    return load_video_llm(str(directory), device="cpu")


def test_a_stream_of_text_says_what_transformers_says_of_the_whole(model, directory):
    """Exact blocks, and a window that holds all of them."""
    plain = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    family, text = model.family, (TEXT * 2)[: 12 * SIZE]
    with open_session(
        model, codec="exact", chunk_frames=3 * SIZE, window_frames=0, recent_frames=1 << 20
    ) as session:
        for start in range(0, len(text), 50):
            session.push_text(text[start : start + 50])
        streamed = all_logits(session, "who sat?")
    said = [{"role": "user", "content": f"{text}\n\nwho sat?"}]
    ids = AutoTokenizer.from_pretrained(directory).apply_chat_template(
        said, add_generation_prompt=True, return_dict=False
    )
    asked = family.question("who sat?").ids.tolist()
    assert [*family.prefix().ids.tolist(), *family.token_ids(text), *asked] == ids
    with torch.inference_mode():
        offline = plain(torch.tensor([ids])).logits[0, -len(asked) :]
    torch.testing.assert_close(streamed, offline, rtol=0, atol=1e-5 * float(offline.abs().max()))


def test_tokens_wait_until_they_fill_a_block(model):
    with open_session(model) as session:
        assert session.push_text(TEXT[: SIZE + 10]) == 1
        assert session.push_text(TEXT[: SIZE - 11]) == 0
        assert session.push_text("!") == 1
        infos = [session.memory.info(block_id) for block_id in range(2)]
    assert [info.num_tokens for info in infos] == [SIZE, SIZE]


def test_a_block_comes_every_second_or_when_it_is_said(model):
    with open_session(model) as session:
        session.push_text(TEXT[: 2 * SIZE + 5])
        session.push_text(TEXT[: SIZE - 5])
        session.push_text(TEXT[:SIZE], at_s=60.0)
        session.push_text(TEXT[:SIZE])
        ends = [session.memory.info(block_id).end_s for block_id in range(5)]
    assert ends == [0.0, 1.0, 2.0, 60.0, 61.0]


def test_evidence_of_a_text_has_no_picture(model):
    with open_session(model, max_answer_tokens=1) as session:
        session.push_text(TEXT)
        answer = session.ask("who sat?").answer
    assert answer.evidence
    assert {one.thumbnail for one in answer.evidence} == {b""}


def test_a_text_is_looked_through_and_cited(model):
    with open_session(model, max_answer_tokens=3) as session:
        session.push_text(TEXT)
        require_sound_spans(session.ask("who sat?").answer)
        finding = Finding({"text": session}, "a cat sits", effort=Effort(None, None, None))
        list(finding)
        assert finding.judged == session.memory.num_readable
        assert [part.kind for part in finding.coverage["text"]] == ["judged"]


def test_special_tokens_in_a_text_are_letters(model):
    assert len(model.family.token_ids("</s>")) == 4


@pytest.mark.parametrize("policy", ["rekv", "streaming_llm"])
def test_a_policy_counts_tokens_as_frames(model, policy):
    """`rekv` has to know the tokens of a block before there is one."""
    with open_session(model, policy=policy, max_answer_tokens=1) as session:
        session.push_text(TEXT)
        assert session.ask("who sat?").answer.evidence


def test_pictures_are_refused(model):
    with open_session(model) as session, pytest.raises(EncoderError, match="reads text"):
        session.push(frames_of(SIZE))


def test_a_family_that_watches_takes_no_text():

    session = open_session(tiny_video_llm("embedded")[0])
    with session, pytest.raises(UnsupportedModelError, match="embedded watches pictures"):
        session.push_text("a dog")


def test_a_decoder_of_text_is_read_only_where_that_is_said(directory, tmp_path):
    for path in directory.iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = json.loads((directory / "config.json").read_text())
    del config["vstream_family"]
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r'no vision tower.*"vstream_family": "text"'):
        load_video_llm(str(tmp_path), device="cpu")
