"""Questions about time, answered from spans: what they say, and when they are the model's."""

from concurrent.futures import CancelledError
from dataclasses import replace

import pytest
from engine import open_session, stream_frames, tiny_video_llm
from owl_stream import owl_frames

from memory import MemoryConfig, follow_memory
from vstream import Finding, Question, VStreamConfig, load_config, load_video_llm
from vstream import open_session as open_stream
from vstream.decoding.token_choice import Decoding
from vstream.device.asker import Asker
from vstream.stream_reader import StreamReader

BEGAN = 1_700_000_000.0
COUNT = "how many times was the owl there?"
QUICK = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}


@pytest.fixture(scope="module")
def owls():
    """The embedded model, and what it saw, from `BEGAN` on."""
    config = load_config(engine={"plan_milliseconds": None})
    config = config.model_copy(update={"memory": MemoryConfig(store="memory://")})
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    with open_stream(config, model, "owls") as session:
        session.push([replace(one, captured_at=BEGAN + one.stream_s) for one in owl_frames()])
        yield session


@pytest.fixture(scope="module")
def llama():
    """Of a random model that says yes about as often as no, and is believed."""
    model = tiny_video_llm("llama")[0]
    model.family.recommended = replace(model.family.recommended, find_threshold=0.5)
    return model


def session_of(model, blocks=14, **options):
    session = open_session(model, max_answer_tokens=1, **{**QUICK, **options})
    session.push(stream_frames(blocks * model.family.frames_per_block))
    return session


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("when did the owl first come?", "At 0h00m08s."),
        ("when was an owl last seen?", "At 0h00m36s."),
        ("when was the cup last seen?", "Right now."),
        ("when was the owl last seen before 0:12?", "At 0h00m12s."),
        ("how often was the owl there since 0:16?", "Once, at 0h00m28s."),
        ("how often was the owl there since 0:29?", "Once, at 0h00m29s."),
        ("when was the cup last seen in the last ten minutes?", "Right now."),
        ("when did the cup leave?", "Not yet, it is so right now."),
        ("when was the owl there?", "From 0h00m08s to 0h00m16s and from 0h00m28s to 0h00m36s."),
        (COUNT, "2 times, at 0h00m08s and 0h00m28s."),
        ("how often was the owl there before 0:20?", "Once, at 0h00m08s."),
        ("how long was the owl there in all?", "16 seconds in all, in 2 stretches."),
        ("which came first, the owl or the cup?", "The cup came first, at 0h00m00s."),
        ("was the owl there while the cup was there?", "Yes, from 0h00m08s to 0h00m16s."),
        ("did the owl come before the cup?", "No, never."),
        ("how long was the cup there before the owl came?", "8 seconds in all."),
        ("how often was the cup there after the owl left?", "Once, at 0h00m36s."),
        ("when did the bear first come?", "Never."),
        ("was there a bear between 0:10 and 0:20?", "No, never."),
    ],
)
def test_what_was_found_is_said(owls, question, said):
    answer = owls.ask(question).answer
    assert answer.text == said
    assert answer.plan is not None


def test_times_are_those_of_a_clock_where_there_is_a_zone(owls):
    def said(asked_at):
        return owls.ask(Question("when did the owl first come?", zone="UTC", asked_at=asked_at))

    assert said(BEGAN + 60).answer.text == "At 22:13:28."
    assert said(BEGAN + 86_400).answer.text == "At 22:13:28 on 14 November 2023."
    at = Question("was the owl there at 22:13:48?", zone="UTC", asked_at=BEGAN + 60)
    assert owls.ask(at).answer.text == "Yes, at 22:13:48."


def test_the_plan_is_what_find_finds_and_travels_with_the_answer(owls):
    answer = owls.ask(Question(COUNT, at_s=30.0)).answer
    [found] = answer.plan.found
    finding = Finding({"": owls}, found["statement"], within={"": (0.0, 30.0)})
    list(finding)
    spans = [{"stream": "", **span} for span in found["spans"]]
    assert spans == [span.document() for span in finding.spans]
    assert found["coverage"] == [part._asdict() for part in finding.coverage[""]]
    assert {one.block_id for one in answer.evidence} == {span.block_id for span in finding.spans}
    assert all(one.thumbnail for one in answer.evidence)
    cited = [(one.from_s, one.to_s, one.share) for one in answer.spans]
    assert cited == [(span.from_s, span.to_s, 1 / len(cited)) for span in finding.spans]
    assert answer.asked_at_s == answer.newest_frame_s == 30.0
    assert answer.document()["plan"]["found"] == [found]
    assert owls.ask(COUNT).answer.plan.found[0]["known"] > 0


def test_a_statement_of_two_parts_is_asked_about_part_by_part(owls):
    assert owls.ask("was there ever an owl in the room?").answer.text.startswith("Yes")
    assert owls.ask("was there ever an owl on the beach?").answer.text == "No, never."


def test_it_is_read_like_any_answer(owls):
    stream = owls.ask(COUNT)
    assert stream.evidence == stream.answer.evidence
    assert "".join(stream) == ""  # it has been read
    assert "".join(owls.ask(COUNT)) == stream.answer.text
    assert not stream.cancel()


@pytest.mark.parametrize(
    "left_out",
    [
        {"plan": False},
        {"answer_start": "it was there"},
        {"decoding": Decoding(json_object=True)},
        {"decoding": Decoding(stop=("x",))},
        {"text": "how many times was it there?"},
        {"text": "how often was the owl there at 0:10 or at 0:20?"},
    ],
)
def test_the_model_answers_what_is_to_be_said_otherwise(owls, left_out):
    assert owls.ask(replace(Question(COUNT), **left_out)).answer.plan is None


@pytest.mark.parametrize(
    "options", [{"plan_times": False}, {"policy": "last_frames"}, {"policy": "infllm"}]
)
def test_it_can_be_switched_off_and_needs_blocks(llama, options):
    with open_session(llama, max_answer_tokens=1, **options) as session:
        session.push(stream_frames(6))
        assert session.ask(COUNT).answer.plan is None


def test_what_could_not_be_looked_at_is_said(llama):
    with session_of(llama, blocks=60, plan_milliseconds=0) as session:
        assert session.ask(COUNT).answer.text == "Never, as far as I looked."
        assert session.ask("was there ever an owl?").answer.text == "No, never, as far as I looked."
    with session_of(llama, blocks=60) as session:
        session.forget(10.0, 20.0)
        told = session.ask(COUNT).answer
        assert told.text
        session.forget(0.0, 5.0)
        order = "which came first, the dog or the cat?"
        assert session.ask(order).answer.text.endswith(", as far as I looked.")


def test_a_reader_in_another_place_answers_the_same(llama, tmp_path):
    with session_of(llama, store=f"file://{tmp_path}") as session:
        wanted = session.ask(COUNT).answer
        session.memory.flush()
        memory = follow_memory(
            MemoryConfig(store=f"file://{tmp_path}"), "test", llama.decoder.device
        )
        with StreamReader(llama, memory, VStreamConfig()) as reader:
            assert reader.ask(COUNT).answer.text == wanted.text


def test_an_asker_who_leaves_ends_it_within_a_round(llama, monkeypatch):
    asker, rounds = Asker(), []

    def leave_after_three(done):
        rounds.append(done)
        if len(rounds) == 3:
            asker.leave()

    monkeypatch.setattr(llama.scheduler, "on_round", leave_after_three)
    with session_of(llama, blocks=60) as session:
        rounds.clear()
        with pytest.raises(CancelledError):
            session.ask(Question(COUNT, asker=asker))
        assert len(rounds) <= 4


def test_a_named_stretch_short_enough_is_read_whole(llama):
    with session_of(llama, blocks=60) as session:
        stream = session.ask("what was there between 0:20 and 0:26?")
        read = [{*blocks, *stream.recent_ids} for blocks in stream.retrieved]
        assert read == [set(range(20, 27))] * llama.decoder.num_layers
        planned = session.ask("how often was the owl there between 0:20 and 0:40?").answer
        assert [part["kind"] for part in planned.plan.found[0]["coverage"]] == ["judged"]
