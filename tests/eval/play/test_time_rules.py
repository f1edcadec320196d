"""Every benchmark's time rule, over the path of the service: nothing is seen before it was shown.

A question is answered to the last bit as if the video had gone on otherwise after it, and as if it
had ended there; and otherwise if what it may see is otherwise.
"""

import math
from functools import cache

import pytest
from played_sets import LENGTH_S, LONG_S, SETS, frames, write_pictures, write_set
from tiny_checkpoints import save_tiny_checkpoint

from eval.etbench.command import CONVENTION
from eval.play.asker import GivenAnswer
from eval.play.contender import parse_contenders
from eval.play.player import Player, Task
from eval.play.plays import plan
from eval.play.records import ANSWERS, COSTS
from eval.play.settings import PlaySettings
from eval.question_sets.scored_run import make_benchmark
from vstream import Question, load_config, load_video_llm, open_session

TOKENS = 4


@pytest.fixture(scope="module")
def load_model(tmp_path_factory):
    loaded = {}

    def load(family, sample_fps):
        if family not in loaded:
            path = save_tiny_checkpoint(family, tmp_path_factory.mktemp(family))
            loaded[family] = load_video_llm(str(path), device="cpu", sample_fps=sample_fps)
        return loaded[family].at_rate(sample_fps)

    return load


def fps_of(name):
    convention = CONVENTION if name == "etbench" else make_benchmark(name).convention
    return convention.sample_fps or 1.0


def settings():
    config = load_config(source={"dedup_threshold": 0.0})
    return PlaySettings(config, TOKENS)


def contenders(*names):
    return parse_contenders([f"policy={name}" for name in names])


def answers(told):
    """By policy and question what was said, and when, but for how long it took."""
    return {
        (name.removeprefix(ANSWERS), document["id"]): [
            (one.pop("asked_s"), GivenAnswer(text, **{**one, "first_token_ms": None}))
            for text, one in zip(document["texts"], map(dict, document["said"]), strict=True)
        ]
        for name, document in told
        if name.startswith(ANSWERS)
    }


def played(model, asked, policies="default"):
    """All that was said."""
    told = []
    player = Player(model, settings(), told.append)
    for play in plan(asked):
        for contender in contenders(*policies.split(",")):
            player.play(Task(play, (contender,), {}))
    return answers(told)


@pytest.fixture(scope="module")
def said_of(load_model, tmp_path_factory):
    """By set, what the embedded model says of all that is asked; its videos stay as they are."""

    @cache
    def say(name):
        path = tmp_path_factory.mktemp(name)
        return played(load_model("embedded", fps_of(name)), write_set(name, path))

    return say


def length_of(name):
    return LONG_S if name.startswith("streaming") else LENGTH_S


def asked_until_s(said, name):
    """When it was put for the last time: a poll that was answered with yes is not put again."""
    at_s, _ = said[-1]
    return length_of(name) - 1 if at_s is None else at_s


def by_protocol(asked, several):
    """What may be seen and what is asked each time, with what was said."""
    left = iter(several)
    for span in asked.spans:
        at_s, text = next(left)
        yield span, asked.prompt, at_s, text
        final = asked.follow_up(text.text)
        if final is not None:
            yield span, final, *next(left)
            break
    assert next(left, None) is None


@pytest.mark.parametrize("name", SETS)
def test_what_comes_after_a_question_changes_nothing_and_what_comes_before_does(
    name, tmp_path, load_model, said_of
):
    model = load_model("embedded", fps_of(name))
    asked, said = write_set(name, tmp_path), said_of(name)
    assert len(said) == len(asked) > 0
    assert all(one.error is None for several in said.values() for _, one in several)
    for play in plan(asked):
        until_s = {one.id: asked_until_s(said["default", one.id], name) for one in play.asked}
        for end_s in sorted(set(until_s.values())):
            coming_s = min((s for s in until_s.values() if s > end_s), default=end_s)
            for changed_after_s, played_s in ((end_s, coming_s), (end_s - 2, end_s)):
                write_pictures(play.video, length_of(name), changed_after_s)
                # To the last bit frames hang on where the stream was cut for earlier questions.
                other = played(model, [one for one in play.asked if until_s[one.id] <= played_s])
                for _, one in other:
                    if until_s[one] <= changed_after_s:
                        assert other["default", one] == said["default", one]
                    elif until_s[one] == end_s:
                        assert other["default", one] != said["default", one], (
                            "it does not look at the video"
                        )


@pytest.mark.parametrize("name", SETS)
def test_an_answer_is_that_of_a_session_which_has_seen_this_much_and_no_other_question(
    name, tmp_path, load_model, said_of
):
    fps = fps_of(name)
    model = load_model("embedded", fps)
    asked, said = write_set(name, tmp_path), said_of(name)
    [default] = contenders("default")
    for one in asked:
        under = model.with_system(one.prompt.system)
        config = settings().configured(default)
        for span, prompt, at_s, text in by_protocol(one, said["default", one.id]):
            end_s = min(span.end_s, length_of(name) - 1)
            with open_session(config, under, "offline") as session:
                session.push(frames(span.start_s, end_s, step_s=round(1 / fps)))
                question = Question(
                    prompt.text,
                    None if math.isinf(span.end_s) else span.end_s,
                    decoding=settings().decoding(one.id, 0),
                    answer_start=prompt.answer_start,
                )
                answer = session.ask(question).answer
            assert at_s == question.at_s
            assert text.text == answer.text
            assert text.newest_frame_s == answer.newest_frame_s == newest_s(span, end_s, fps)
            assert [seen[:2] for seen in text.seen_s] == sorted(
                (each.start_s, each.end_s) for each in answer.evidence
            )
            scores = sorted((e.start_s, e.score) for e in answer.evidence)
            assert [seen[2] for seen in text.seen_s] == pytest.approx(
                [score for _, score in scores], abs=1e-4
            )


def newest_s(span, end_s, fps):
    """Of the seconds that have a picture, at this rate: the last that is not after `end_s`."""
    step = round(1 / fps)
    return max(span.start_s, end_s // step * step)


@pytest.mark.parametrize("policy", ["default", "window", "streaming_llm", "uniform", "frames"])
@pytest.mark.parametrize("name", ["ovo-bench", "streaming-bench", "rvs-ego"])
def test_no_policy_sees_anything_outside_of_the_span(name, policy, tmp_path, load_model, said_of):
    asked = write_set(name, tmp_path)
    is_known = policy == "default"
    model = load_model("embedded", fps_of(name))
    said = said_of(name) if is_known else played(model, asked, policy)
    for one in asked:
        for span, _, _, text in by_protocol(one, said[policy, one.id]):
            assert text.error is None
            assert text.seen_s
            for start_s, end_s, _ in text.seen_s:
                assert span.start_s <= start_s <= end_s <= span.end_s
            assert text.seen_s[-1][1] == newest_s(span, span.end_s, fps_of(name))


@pytest.mark.parametrize("family", ["qwen2_5_vl", "smolvlm"])
def test_a_block_of_two_frames_is_seen_when_both_have_been(family, tmp_path, load_model):
    model = load_model(family, 1.0)
    size = model.family.frames_per_block
    asked = write_set("ovo-bench", tmp_path)
    said = played(model, asked)
    for one in asked:
        [(at_s, text)] = said["default", one.id]
        num_frames = math.floor(at_s) + 1
        assert text.newest_frame_s == num_frames // size * size - 1
    write_pictures(asked[0].video, other_after_s=6)
    again = played(model, asked)
    same = {one.id for one in asked if again["default", one.id] == said["default", one.id]}
    assert same >= {one.id for one in asked if one.spans[0].end_s <= 6.5}
    assert same < {one.id for one in asked}


def test_without_a_frame_a_model_says_the_same_of_any_video(tmp_path, load_model):
    model = load_model("embedded", 1.0)
    asked = write_set("ovo-bench", tmp_path)
    said = played(model, asked, "language")
    write_pictures(asked[0].video, other_after_s=-1)
    assert played(model, asked, "language") == said
    assert {text.seen_s for [(_, text)] in said.values()} == {()}
    assert len({text.text for [(_, text)] in said.values()}) > 1


@pytest.mark.parametrize(("host_bytes", "is_aged"), [(1 << 30, False), (310_000, True)])
def test_blocks_for_which_there_was_no_room_are_told(tmp_path, load_model, host_bytes, is_aged):
    model = load_model("embedded", 1.0)
    config = settings().config
    memory = config.memory.model_copy(update={"host_bytes": host_bytes})
    bounded = PlaySettings(config.model_copy(update={"memory": memory}), TOKENS)
    plays = plan(write_set("streaming-bench", tmp_path))
    longest = max(plays, key=lambda play: play.times[-1].at_s - play.from_s)
    told = []
    Player(model, bounded, told.append).play(Task(longest, tuple(contenders("default")), {}))
    [cost] = [document for name, document in told if name == COSTS]
    assert (cost["num_aged"] > 0) == is_aged


def test_policies_that_share_a_session_say_what_each_says_alone(tmp_path, load_model):
    model = load_model("embedded", 1.0)
    asked = write_set("ovo-bench", tmp_path)
    names = "default,uniform"
    alone = played(model, asked, names)
    told = []
    for play in plan(asked):
        several = tuple(contenders(*names.split(",")))
        Player(model, settings(), told.append).play(Task(play, several, {}))
    texts = [
        {key: [s.text for _, s in said] for key, said in found.items()}
        for found in (answers(told), alone)
    ]
    assert texts[0] == texts[1]


def test_what_a_question_that_is_on_record_leaves_out_changes_no_other_bit(
    tmp_path, load_model, said_of
):
    model = load_model("embedded", 1.0)
    asked, said = write_set("ovo-bench", tmp_path), said_of("ovo-bench")
    told = []
    known = {"default": {asked[0].id, asked[3].id}}
    for play in plan(asked):
        Player(model, settings(), told.append).play(Task(play, tuple(contenders("default")), known))
    found = answers(told)
    assert {name for _, name in found} == {one.id for one in asked} - known["default"]
    assert found.items() <= said.items()


def test_a_video_that_breaks_off_is_said_in_the_answers_it_leaves(tmp_path, load_model, said_of):
    model = load_model("embedded", 1.0)
    asked, said = write_set("ovo-bench", tmp_path), said_of("ovo-bench")
    whole = asked[0].video.read_bytes()
    asked[0].video.write_bytes(whole[: len(whole) // 2])
    broken = played(model, asked)
    asked[0].video.write_bytes(b"")
    empty = played(model, asked)
    assert all(text.text is None and "Error" in text.error for [(_, text)] in empty.values())
    early = [one.id for one in asked if one.spans[0].end_s < 8]
    for name in early:
        assert broken["default", name] == said["default", name]
