"""What is put to an asker: the published words, at their moments, each question by itself."""

import math
from pathlib import Path

from eval.play.asker import GivenAnswer
from eval.play.interview import Interview
from eval.play.options import PlayOptions
from eval.play.played_run import chosen
from eval.play.plays import AskTime, Prompt, TimeSpan, VideoQuestion, plan
from eval.play.settings import PlaySettings
from vstream import QuestionError, load_config

VIDEO = Path("a.mp4")
FINAL = Prompt("what is it?")


class Scripted:
    """Says what is written, and keeps what it was asked."""

    def __init__(self, *texts):
        self.texts = list(texts)
        self.asked = []

    def ask(self, question, evidence):
        self.asked.append(question)
        text = self.texts.pop(0)
        if text is None:
            raise QuestionError("no frame had been seen")
        return GivenAnswer(text)


def after_yes(text):
    return FINAL if "yes" in (text or "") else None


def poll(name, *ends):
    spans = tuple(TimeSpan(2.0, end) for end in ends)
    return VideoQuestion(name, VIDEO, spans, Prompt("is it time?"), after_yes)


def kept_in(told):
    """Takes lines of the contender's file."""

    def tell(line):
        name, document = line
        assert name == "answers/default"
        told.append(document)

    return tell


def asked_s(document):
    return [said["asked_s"] for said in document["said"]]


def interviewed(asked, asker, known=(), **settings):
    told = []
    [play] = plan(asked)
    interview = Interview(
        play, "default", PlaySettings(load_config(), 5, **settings), known, kept_in(told)
    )
    for time in play.times:
        interview.put(time, asker.ask)
    return told, interview


def test_a_question_is_put_in_the_published_words_and_nothing_of_others_is_told():
    asked = [
        VideoQuestion(
            name, VIDEO, (TimeSpan(0, end_s),), Prompt(f"{name}\n\x20 ?", "Watch.", "Best: (")
        )
        for name, end_s in (("late", 9.0), ("end", math.inf), ("early", 4.5))
    ]
    asker = Scripted("a", "b", "c")
    told, _ = interviewed(asked, asker)
    assert [one["id"] for one in told] == ["early", "late", "end"]
    assert [question.at_s for question in asker.asked] == [4.5, 9.0, None]
    for question, one in zip(asker.asked, told, strict=True):
        assert question.text == f"{one['id']}\n\x20 ?"
        assert question.answer_start == "Best: ("
        assert question.decoding.max_tokens == 5
        assert question.decoding.temperature == 0
        assert (question.dialogue, question.context, question.from_s) == ((), "", None)


def test_a_poll_goes_on_until_yes_then_the_question_itself_is_put_at_that_moment():
    asker = Scripted("no", "no, yes", "a cup")
    [told], interview = interviewed([poll("p", 3.0, 4.0, 5.0, 6.0)], asker)
    assert told["texts"] == ["no", "no, yes", "a cup"]
    assert asked_s(told) == [3.0, 4.0, 4.0]
    assert [question.text for question in asker.asked] == ["is it time?"] * 2 + ["what is it?"]
    assert interview.until_s == -math.inf


def test_a_poll_that_is_never_answered_with_yes_ends_with_its_last_moment():
    asker = Scripted(None, "no", "No.")
    [document], _ = interviewed([poll("p", 3.0, 4.0, 5.0)], asker)
    assert document["texts"] == [None, "no", "No."]
    assert document["said"][0]["error"] == "QuestionError: no frame had been seen"


def test_polls_of_several_questions_are_put_in_order_of_time():
    asker = Scripted("no", "yes", "a", "yes", "b")
    told, _ = interviewed([poll("p", 3.0, 5.0), poll("q", 4.0, 6.0)], asker)
    asked = [(one["id"], asked_s(one)) for one in told]
    assert asked == [("q", [4.0, 4.0]), ("p", [3.0, 5.0, 5.0])]


def test_what_is_on_record_is_not_asked_again():
    asked = [poll("p", 3.0, 4.0), poll("q", 4.0)]
    asker = Scripted("no")
    told, interview = interviewed(asked, asker, known={"p"})
    assert [one["id"] for one in told] == ["q"]
    _, whole = interviewed(asked, Scripted("no", "no", "no"), known={"p", "q"})
    assert interview.until_s == whole.until_s == -math.inf


def test_where_nothing_can_be_asked_any_more_the_rest_says_why():
    told = []
    [play] = plan([poll("p", 3.0, 4.0), poll("q", 5.0)])
    settings = PlaySettings(load_config(), 5)
    interview = Interview(play, "default", settings, (), kept_in(told))
    interview.put(play.times[0], Scripted("no").ask)
    assert interview.until_s == 5.0
    interview.fail(play.times[1:], ValueError("gone"))
    assert [one["texts"] for one in told] == [["no", None], [None]]
    assert told[1]["said"][0]["error"] == "ValueError: gone"


def test_drawn_answers_have_seeds_of_their_own_that_repeat():
    settings = PlaySettings(load_config(), 5, temperature=0.7, seed=3)
    seeds = [settings.decoding(name, turn).seed for name in "ab" for turn in (0, 1)]
    assert len(set(seeds)) == 4
    assert settings.decoding("a", 0) == settings.decoding("a", 0)
    other = PlaySettings(load_config(), 5, temperature=0.7, seed=4)
    assert other.decoding("a", 0).seed != settings.decoding("a", 0).seed


def test_questions_share_a_session_only_where_they_may_see_the_video_from_one_moment_on():
    def one(name, start_s, end_s, video=VIDEO, system=""):
        return VideoQuestion(name, video, (TimeSpan(start_s, end_s),), Prompt("?", system))

    asked = [
        one("a", 0, 9),
        one("b", 3, 9),
        one("c", 0, 4),
        one("d", 0, 4, Path("b.mp4")),
        one("e", 0, 4, system="Watch."),
    ]
    plays = plan(asked)
    assert [[each.id for each in play.asked] for play in plays] == [["a", "c"], ["b"], ["d"], ["e"]]
    assert [play.from_s for play in plays] == [0, 3, 0, 0]
    assert plays[0].times == (AskTime(4, 1), AskTime(9, 0))


def test_a_limit_takes_the_first_or_those_that_the_seed_draws():
    def options(**values):
        return PlayOptions("embedded", Path("out"), **values)

    items = list(range(100))
    assert chosen(items, options()) == items
    assert chosen(items, options(limit=3)) == [0, 1, 2]
    drawn = chosen(items, options(limit=10, seed=1))
    assert drawn == sorted(set(drawn)) == chosen(items, options(limit=10, seed=1))
    assert len(drawn) == 10
    assert drawn != chosen(items, options(limit=10, seed=2))
    assert chosen(items, options(limit=1000, seed=1)) == items
