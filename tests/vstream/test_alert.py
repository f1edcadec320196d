"""Standing questions: a judgement is the first token of the ordinary answer and changes nothing."""

from copy import copy
from dataclasses import replace

import pytest
from engine import FAMILIES, all_logits, answer_of, open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from owl_stream import LENGTH_S, VISITS, owl_frames

import vstream
from eval.stream_world.vocabulary import with_article
from vstream import (
    Alert,
    ModelError,
    Question,
    QuestionError,
    SettingsError,
    Silence,
)
from vstream.answer import SAID_S
from vstream.decoding.token_choice import Decoding
from vstream.question import Saying

QUICK = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}
WAIT = "tell me when the dog is on the table"
BLOCKS = 11
ABSENT = ("bear", "snowman", "egg", "dog")
"""What the stream with the owl never shows."""


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_video_llm(request.param)[0]


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


class Listener:
    """A rule that notes what it is fed and speaks at every judgement."""

    def __init__(self):
        self.fed = []

    def feed(self, probability, at_s):
        self.fed.append((probability, at_s))
        return True


def frames_of(model, blocks):
    return stream_frames(blocks * model.family.frames_per_block)


def prompt_of(model):
    return model.family.recommended.judge_prompt.format(condition=WAIT)


def mass_of(model, softmax, words):
    """Probability of all tokens that read as one of `words`; of its letter in text-only models."""
    if model.family.name == "tokens":
        return sum(float(softmax[ord(word[0])]) for word in words)
    read = [model.family.text([token]).strip() for token in range(len(softmax))]
    return sum(float(p) for p, text in zip(softmax, read, strict=True) if text in words)


def test_a_model_trained_to_be_silent_is_judged_by_its_silence(llama):
    silent = replace(llama.family.recommended, silence_words=("o", "k"))
    family = copy(llama.family)
    family.recommended = silent
    session = open_session(replace(llama, family=family), max_answer_tokens=1, **QUICK)
    session.push(stream_frames(BLOCKS))
    judged = session.judge(WAIT)
    prefilled = all_logits(session, prompt_of(llama))
    silence = prefilled[-1].float().softmax(0)[[ord("o"), ord("k")]].sum()
    assert judged.probability == pytest.approx(1 - float(silence), abs=1e-5)
    alert = Alert(session, WAIT)
    spoken = [s for s in range(BLOCKS) if alert.look(float(s)) is not None]
    rule = Silence()
    wanted = [
        s for s in range(BLOCKS) if rule.feed(session.judge(WAIT, float(s)).probability, float(s))
    ]
    assert spoken == wanted


@pytest.mark.parametrize("retrieval", ["per_layer", "global", "two_pass"])
def test_a_judgement_is_the_softmax_of_the_ordinary_answers_first_token(model, retrieval):
    session = open_session(model, retrieval=retrieval, max_answer_tokens=1, **QUICK)
    session.push(frames_of(model, BLOCKS))
    yes_words, no_words = {
        "tokens": (["yes"], ["no"]),
        "embedded": (["yes", "now"], ["no", "not"]),
    }.get(model.family.name, (["yes", "Yes"], ["no", "No"]))
    softmax = all_logits(session, prompt_of(model))[-1].softmax(dim=0)
    yes, no = mass_of(model, softmax, yes_words), mass_of(model, softmax, no_words)
    judgement = session.judge(WAIT)
    assert judgement.probability == pytest.approx(yes / (yes + no), abs=1e-5)
    assert 0.0 < judgement.probability < 1.0
    answer = session.ask(prompt_of(model)).answer
    assert judgement.evidence == answer.evidence
    assert judgement.at_s == judgement.newest_frame_s == answer.newest_frame_s
    best = int(softmax.argmax())
    assert answer.token_ids == (() if best in model.family.stop_ids else (best,))


def test_later_frames_never_change_an_earlier_judgement(model):
    session = open_session(model, **QUICK)
    frames = frames_of(model, BLOCKS)
    half = (BLOCKS - 4) * model.family.frames_per_block
    session.push(frames[:half])
    at_s = frames[half - 1].stream_s
    before = session.judge(WAIT, at_s)
    session.push(frames[half:])
    assert session.judge(WAIT, at_s) == before
    assert session.judge(WAIT).probability != before.probability


def test_judging_leaves_the_store_byte_identical_and_answers_alone(llama, tmp_path):
    with open_session(llama, store=f"file://{tmp_path}", max_answer_tokens=4, **QUICK) as session:
        session.push(stream_frames(BLOCKS))
        session.memory.flush()

        def kept():
            return {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

        files, answer = kept(), answer_of(session, "what?")
        assert files
        for at_s in (3.0, 7.0, None):
            session.judge(WAIT, at_s)
        session.memory.flush()
        assert kept() == files
        assert answer_of(session, "what?") == answer
        assert session.memory.num_blocks == BLOCKS


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 5), min_size=BLOCKS))
def test_watching_while_frames_are_pushed_equals_looking_back_afterwards(llama, cuts):
    live, later = Listener(), Listener()
    session = open_session(llama, codec="exact", **QUICK)
    alert, frames = Alert(session, WAIT, live), stream_frames(BLOCKS)
    while frames:
        now, frames = frames[: cuts[0]], frames[cuts.pop(0) :]
        session.push(now)
        for frame in now:
            alert.look(frame.stream_s)
    looking_back = Alert(session, WAIT, later)
    for second in range(BLOCKS):
        looking_back.look(float(second))
    assert live.fed == later.fed
    assert len(live.fed) == BLOCKS
    assert len({probability for probability, _ in live.fed}) > BLOCKS // 2


def test_an_alert_tells_what_its_rule_fires_on_with_the_evidence_of_the_moment(model):
    session = open_session(model, **QUICK)
    frames = frames_of(model, BLOCKS)
    session.push(frames)
    at_s = frames[-3].stream_s
    firing = Alert(session, WAIT, Listener()).look(at_s)
    judgement = session.judge(WAIT, at_s)
    assert (firing.condition, firing.at_s) == (WAIT, at_s)
    assert firing.probability == judgement.probability
    assert firing.evidence == judgement.evidence
    assert all(e.end_s <= at_s for e in firing.evidence)


@pytest.mark.parametrize("since_s", [0.0, 100.0])
def test_what_is_said_of_a_moment_is_the_answer_over_the_seconds_before_it(model, since_s):
    """Of one in which the picture has stood still for long, over its newest block."""
    session = open_session(model, **QUICK)
    frames = frames_of(model, BLOCKS)
    session.push(frames)
    at_s = frames[-1].stream_s + since_s
    ids = session.memory.visible(at_s, at_s - SAID_S) or [BLOCKS - 1]
    first = session.memory.info(ids[0])
    said = session.begin_saying(at_s).result()
    prompt, decoding = model.family.recommended.say_prompt, Decoding(max_tokens=48)
    question = Question(prompt, at_s, from_s=first.end_s, decoding=decoding)
    older = ids[: max(0, len(ids) - session.policy.recent_blocks())]
    read = [older] * model.decoder.num_layers
    answer = session.ask(question, read).answer
    assert said == Saying(" ".join(answer.text.split()), first.start_s)
    assert {one.block_id for one in answer.evidence} == set(ids)


def test_nothing_is_said_of_a_moment_of_which_nothing_is_kept(llama):
    session = open_session(llama, **QUICK)
    with pytest.raises(QuestionError):
        session.begin_saying(5.0).result()


def test_a_moment_is_judged_once_and_time_does_not_go_back(llama):
    session = open_session(llama, **QUICK)
    session.push(stream_frames(BLOCKS))
    rule = Listener()
    alert = Alert(session, WAIT, rule, every_s=2.0)
    for at_s in (0.0, 1.0, 1.9, 2.0, 2.0, 3.0, 1.0, 4.5, 5.9, 6.0, 9.0):
        alert.look(at_s)
    assert [at_s for _, at_s in rule.fed] == [0.0, 2.0, 4.5, 6.0, 9.0]


def test_nothing_is_judged_before_the_first_block_has_ended():
    session = open_session(tiny_video_llm("qwen2_5_vl")[0], **QUICK)
    rule = Listener()
    alert = Alert(session, WAIT, rule)
    for frame in stream_frames(4):
        session.push([frame])
        alert.look(frame.stream_s)
    assert [at_s for _, at_s in rule.fed] == [1.0, 2.0, 3.0]


def test_alerts_of_one_session_do_not_know_each_other(llama):
    session = open_session(llama, **QUICK)
    session.push(stream_frames(BLOCKS))
    texts = [WAIT, "say when the cup is red"]

    def fed(texts):
        rules = [Listener() for _ in texts]
        alerts = [Alert(session, text, rule) for text, rule in zip(texts, rules, strict=True)]
        for second in range(BLOCKS):
            for alert in alerts:
                alert.look(float(second))
        return [rule.fed for rule in rules]

    assert fed(texts) == fed(texts[:1]) + fed(texts[1:])
    assert fed(texts[:1]) != fed(texts[1:])


def test_a_standing_question_may_hold_braces(llama):
    session = open_session(llama, **QUICK)
    session.push(stream_frames(3))
    assert 0 < session.judge("tell me when {this} or {0} is the case").probability < 1


def test_standing_questions_that_cannot_be_put_say_why(llama):
    session = open_session(llama, **QUICK)
    with pytest.raises(QuestionError, match="no frame has been seen"):
        session.judge(WAIT)
    session.push(stream_frames(3, start=5))
    with pytest.raises(QuestionError, match="empty"):
        session.judge(" \n")
    with pytest.raises(QuestionError, match="too long"):
        session.judge("w" * llama.decoder.max_positions)
    with pytest.raises(QuestionError, match="at 2 s"):
        session.judge(WAIT, at_s=2.0)
    for every_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="every_s"):
            Alert(session, WAIT, every_s=every_s)


def test_a_model_that_writes_yes_and_no_alike_is_refused():
    model = tiny_video_llm("llama")[0]
    model.family.recommended = replace(
        model.family.recommended, yes_words=("sure", "yes"), no_words=("sorry", "yuck")
    )
    session = open_session(model, **QUICK)
    session.push(stream_frames(3))
    with pytest.raises(ModelError, match="differ in their first token"):
        session.judge(WAIT)


def test_a_token_that_opens_both_yes_and_no_says_nothing():
    model = tiny_video_llm("llama")[0]
    plain = open_session(model, **QUICK)
    plain.push(stream_frames(5))
    wanted = plain.judge(WAIT).probability
    model.family.recommended = replace(
        model.family.recommended, yes_words=("yes", "sure"), no_words=("no", "sorry")
    )
    assert plain.judge(WAIT).probability == wanted


@pytest.fixture(scope="module")
def owl_session():
    config = vstream.load_config()
    with vstream.open_session(config, vstream.load_video_llm(None), "owl") as session:
        session.push(owl_frames())
        yield session


def in_view(second):
    return any(second in visit for visit in VISITS)


def test_the_embedded_model_finds_an_owl_far_more_probable_when_it_is_in_view(owl_session):
    text = "tell me when an owl appears."
    found = {True: [], False: []}
    for second in range(LENGTH_S):
        found[in_view(second)].append(owl_session.judge(text, float(second)).probability)
    threshold = owl_session.model.family.recommended.alert_threshold
    assert min(found[True]) > threshold > max(found[False])
    assert sum(found[True]) / len(found[True]) > 0.9
    assert sum(found[False]) / len(found[False]) < 0.1


def test_the_embedded_model_tells_of_each_visit_once_and_not_of_what_never_comes(owl_session):
    def told(name):
        alert = Alert(owl_session, f"tell me when a {name} appears.")
        looks = [alert.look(float(second)) for second in range(LENGTH_S)]
        return [firing.at_s for firing in looks if firing is not None]

    assert told("owl") == [visit.start + 1.0 for visit in VISITS], "a second look confirms it"
    assert told("dog") == []
    assert told("cup") == [1.0], "it is there from the first frame on"


def test_however_an_alert_is_worded_it_tells_of_what_comes_and_of_nothing_else(owl_session):
    """What never comes is waited for where something changes. All look at a moment at once."""
    changes = [0, *(second for visit in VISITS for second in (visit.start, visit.stop))]
    around = {change + late for change in changes for late in range(-1, 4)}
    wordings = ["do you see {}?", "is there {} on the screen?", "tell me when you see {}"]
    wanted = {name: [] for name in ABSENT}
    wanted["owl"] = [visit.start + 1.0 for visit in VISITS]
    wanted["cup"] = [1.0]  # it is there from the first frame on
    alerts = {
        (wording, name): Alert(owl_session, wording.format(with_article(name)))
        for wording in wordings
        for name in wanted
    }
    told = {asked: [] for asked in alerts}
    for second in range(LENGTH_S):
        looking = (asked for asked in alerts if asked[1] not in ABSENT or second in around)
        jobs = {asked: alerts[asked].begin(float(second)) for asked in looking}
        for asked, job in jobs.items():
            firing = alerts[asked].feed(job.result())
            told[asked] += [] if firing is None else [firing.at_s]
    assert told == {(wording, name): wanted[name] for wording, name in alerts}


def test_the_embedded_models_answer_opens_with_the_words_that_are_judged(owl_session):
    family = owl_session.model.family
    for second in (VISITS[0].start + 2, LENGTH_S - 1):
        question = Question("tell me when an owl appears.", float(second))
        (first, *_) = owl_session.ask(question).answer.token_ids
        words = family.recommended.yes_words if in_view(second) else family.recommended.no_words
        assert first in family.first_tokens(words)
