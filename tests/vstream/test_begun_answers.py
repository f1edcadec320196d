"""An answer that is begun for the model, and a stream under another system prompt."""

import pytest
import torch
from decode_loop import decode, decoder_logits
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from tiny_checkpoints import save_tiny_checkpoint

from vstream import ModelError
from vstream.decoding.token_choice import Decoding
from vstream.engine import view_at
from vstream.engine.passes import alone
from vstream.models.video_llm import load_video_llm
from vstream.question import Question

Q = "what is on the table?"
START = "best option: ("


@pytest.fixture(scope="module", params=FAMILIES)
def session(request):
    model = tiny_video_llm(request.param)[0]
    session = open_session(model, retrieve_blocks=3, recent_frames=2, max_answer_tokens=12)
    session.push(stream_frames(8 * model.family.frames_per_block))
    return session


def test_what_is_put_in_the_models_mouth_is_as_if_it_had_said_it(session):
    """Forcing the same tokens one by one after the bare question gives the same next logits."""
    family, decoder = session.model.family, session.model.decoder
    bare, begun = family.question(Q), family.question(Q, answer_start=START)
    said = begun.embeddings[len(bare.embeddings) :]
    assert torch.equal(begun.embeddings[: len(bare.embeddings)], bare.embeddings)
    view = view_at(session.memory, None, session.policy.recent_blocks())
    with torch.inference_mode():
        at_once = session.questions.run(begun, view)
        one_by_one = session.questions.work(bare, view, None, len(said) + 1, 1)
        prefilled = alone(decoder, one_by_one)
        for embedding in said:
            logits = decoder.logits(decoder.forward(embedding[None], prefilled.context))
    assert at_once.retrieved == prefilled.retrieved
    torch.testing.assert_close(at_once.logits[-1], logits[-1], atol=2e-4, rtol=1e-3)


def test_the_answer_goes_on_from_it_and_does_not_repeat_it(session):
    answer = session.ask(Question(Q, answer_start=START)).answer
    ours = decode(
        Decoding(max_tokens=12),
        session.model.family,
        decoder_logits(session, Q, answer_start=START),
    )
    assert answer.token_ids == ours.token_ids
    assert answer.text == ours.text
    bare = session.ask(Q).answer
    begun = len(session.model.family.question(Q, answer_start=START).embeddings)
    assert answer.context_tokens - bare.context_tokens == begun - len(
        session.model.family.question(Q).embeddings
    )


def test_another_system_prompt_makes_other_blocks_under_another_fingerprint(tmp_path):
    model = load_video_llm(str(save_tiny_checkpoint("qwen2_5_vl", tmp_path)), device="cpu")
    other = model.with_system("Answer like a pirate.")
    assert other.decoder is model.decoder
    assert other.fingerprint != model.fingerprint
    assert len(other.family.prefix().embeddings) != len(model.family.prefix().embeddings)
    again = other.with_system("")
    assert again.fingerprint == model.fingerprint
    assert torch.equal(again.family.prefix().embeddings, model.family.prefix().embeddings)
    assert other.at_rate(1.0).family.prefix().embeddings.equal(other.family.prefix().embeddings)


def test_a_model_that_takes_no_system_prompt_says_so():
    with pytest.raises(ModelError, match="system prompt"):
        tiny_video_llm("llama")[0].with_system("Watch.")
