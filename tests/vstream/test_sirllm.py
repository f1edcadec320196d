"""sirllm: the official code's entropies and kept tokens, its oracles, and a long dialogue."""

import pytest
import torch
from engine import open_session, stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st
from official_fixture import cases_of, tensors_of

from encoders import Turn
from memory import ModelShape, policy_named
from memory.policy_hooks import Dialogue
from vstream.engine.kept_dialogue import surprises
from vstream.question import Question

FIXTURE = cases_of("sirllm")
TOLERANCE = 1e-5
ASKED = "what did you see?"


def sirllm(**settings):
    return policy_named("sirllm", ModelShape(), settings)


def told(case, entropy):
    sizes = {"entropy_tokens": case["entropy"], "recent_tokens": case["recent"]}
    return sirllm(sinks=case["start"], decay=case["decay"], entropy=entropy, **sizes)


@pytest.fixture(scope="module")
def logits():
    return tensors_of("sirllm", "logits.safetensors")


def turns_of(case, logits):
    """Each turn as the engine makes it of the model's logits."""
    for number, turn in enumerate(case["turns"]):
        ids = torch.tensor(turn["ids"])
        of_turn = logits[f"{case['name']}.{number}.logits"]
        said = surprises(lambda hidden: hidden, of_turn, ids)
        yield Dialogue(torch.full((len(ids),), number), *said)


def together(turns):
    parts = zip(*((one.turns, one.surprise, one.repeat) for one in turns), strict=True)
    return Dialogue(*map(torch.cat, parts))


def lengths_to(*lengths):
    return torch.repeat_interleave(torch.tensor(lengths))


@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: case["name"])
def test_entropies_are_the_official_ones_and_the_paper_s(case, logits):
    official, paper = (told(case, entropy) for entropy in ("official", "paper"))
    for turn, expected in zip(turns_of(case, logits), case["turns"], strict=True):
        everything = torch.arange(len(turn.turns))
        theirs = torch.tensor(expected["entropy_official"])
        assert (official.entropies(turn, everything) - theirs).abs().max() <= TOLERANCE
        own, theirs = paper.entropies(turn, everything), expected["entropy_paper"]
        for ours, wanted in zip(own.tolist(), theirs, strict=True):
            assert wanted is None or abs(ours - wanted) <= TOLERANCE
        if len(own) > 1:
            assert own[0] == own[1:].max()


@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: case["name"])
def test_the_tokens_that_the_official_code_keeps_are_kept(case, logits):
    policy, so_far = told(case, "official"), []
    for number, turn in enumerate(turns_of(case, logits)):
        expected = case["turns"][number]
        so_far.append(turn)
        said = together(so_far)
        kept, worth = policy.remembered(said)
        assert kept[said.turns[kept] < number].tolist() == expected["kept_before_turn"]
        left = torch.tensor(expected["memory_entropy_after"], dtype=torch.float64)
        assert (worth - left).abs().max() <= TOLERANCE


@pytest.mark.parametrize("case", FIXTURE["streaming_llm"], ids=str)
def test_without_room_for_entropy_the_tokens_of_streaming_llm_are_kept(case):
    policy = sirllm(sinks=case["start"], recent_tokens=case["recent"], entropy_tokens=0)
    coming = [step["coming"] for step in case["steps"]]
    for number, step in enumerate(case["steps"]):
        turns = lengths_to(*coming[: number + 1])
        nothing = torch.zeros(len(turns))
        kept, _ = policy.remembered(Dialogue(turns, nothing, nothing))
        assert [one for one in kept.tolist() if turns[one] < number] == step["kept"]


@st.composite
def dialogues(draw):
    lengths = draw(st.lists(st.integers(1, 30), min_size=1, max_size=8))
    random = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    few = torch.randint(12, (2, sum(lengths)), generator=random).float()
    return Dialogue(lengths_to(*lengths), *few)


settings = st.fixed_dictionaries(
    {
        "sinks": st.integers(0, 6),
        "recent_tokens": st.integers(0, 20),
        "entropy_tokens": st.integers(1, 40),
        "decay": st.sampled_from([0.5, 0.7, 1.0]),
        "entropy": st.sampled_from(["paper", "official"]),
    }
)


@given(dialogues(), settings)
def test_the_room_is_filled_and_not_exceeded_and_the_first_tokens_stay(dialogue, told):
    policy = sirllm(**told)
    kept, worth = policy.remembered(dialogue)
    room = told["sinks"] + told["recent_tokens"] + told["entropy_tokens"]
    assert len(kept) == len(worth) == min(room, len(dialogue.turns))
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert policy.kept_dialogue(dialogue).nonzero()[:, 0].tolist() == kept.tolist()
    sinks = min(told["sinks"], len(dialogue.turns))
    assert kept[:sinks].tolist() == list(range(sinks))


@given(dialogues(), st.sampled_from(["paper", "official"]))
def test_what_has_room_stays_whole_and_undimmed_without_decay(dialogue, entropy):
    total = len(dialogue.turns)
    policy = sirllm(entropy_tokens=total, sinks=0, decay=1.0, entropy=entropy)
    kept, worth = policy.remembered(dialogue)
    assert kept.tolist() == list(range(total))
    turns = [(dialogue.turns == number).nonzero()[:, 0] for number in dialogue.turns.unique()]
    assert torch.equal(
        worth, torch.cat([policy.entropies(dialogue, one) for one in turns]).double()
    )


@given(dialogues())
def test_the_one_surprising_token_of_an_old_turn_outlives_all_around_it(dialogue):
    quiet = torch.zeros(len(dialogue.turns))
    turns = torch.cat([torch.zeros(30, dtype=torch.long), dialogue.turns + 1])
    surprise = torch.cat([torch.zeros(30), quiet])
    surprise[17] = 9.0
    policy = sirllm(entropy_tokens=34, sinks=0, decay=0.9)
    kept, _ = policy.remembered(Dialogue(turns, surprise, surprise))
    assert 17 in kept.tolist()


def long_dialogue():
    return tuple(Turn(f"what about car {number}?", "it is red and old") for number in range(9))


@pytest.mark.parametrize("checkpoint", ["llama", "llava_onevision"])
def test_a_long_dialogue_keeps_to_its_tokens_and_one_with_room_is_read_whole(checkpoint):
    model, _ = tiny_video_llm(checkpoint)
    asked, family = Question(ASKED, dialogue=long_dialogue()), model.family
    told, plain = family.question(ASKED, dialogue=asked.dialogue), family.question(ASKED)
    said = len(told.ids) - len(plain.ids)
    small = {"entropy_tokens": 50, "recent_tokens": 6, "sinks": 4}
    with (
        open_session(model, policy="sirllm", **small) as session,
        open_session(model, policy="sirllm", entropy_tokens=said, decay=1.0) as roomy,
        open_session(model) as default,
    ):
        for one in (session, roomy, default):
            one.push(stream_frames(6))
        whole, short = default.ask(asked).answer, session.ask(asked).answer
        assert said > 60
        assert whole.context_tokens - short.context_tokens == said - 60
        assert roomy.ask(asked).answer.token_ids == whole.token_ids
        assert session.ask(ASKED).answer.token_ids == default.ask(ASKED).answer.token_ids
        named = default.ask(Question(ASKED, dialogue=asked.dialogue, policy="sirllm")).answer
        assert named.context_tokens == whole.context_tokens - max(0, said - 512)
