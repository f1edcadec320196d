"""Trials of grammars: few wait, who has left does not, and what was found is remembered."""

import json
import resource
import signal
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager

import psutil
import pytest
from attack import costly
from held_trials import held_trials
from processes import until
from tiny_checkpoints import tiny_family, tiny_model

from vstream.decoding import grammar
from vstream.decoding.grammar_trials import MOST_WAITING, GrammarTrials
from vstream.decoding.token_choice import Decoding, TokenChoice
from vstream.device.asker import Asker
from vstream.device.shares import Holder
from vstream.errors import BusyError, QuestionError

GOOD = '{"grammars": [{"json_schema": {"type": "boolean"}}]}'


def number(n):
    return f'{{"grammars": [{{"json_schema": {{"const": {n}}}}}]}}'


@pytest.fixture
def held(tmp_path, monkeypatch):
    with held_trials(tmp_path, monkeypatch) as trials:
        yield trials


@pytest.fixture
def pool():
    with ThreadPoolExecutor(40) as threads:
        yield threads


@contextmanager
def trying(trials, pool, held, asker=None):
    """While one is tried."""
    asker = asker or Asker()
    running = pool.submit(outcome, trials, number(-1), asker)
    until(lambda: held.num_running == 1)
    yield running
    asker.leave()
    held.let_go()


def outcome(trials, text, asker):
    """What is wrong with it, or what was raised."""
    try:
        with trials.turn(text, asker) as problem:
            return problem
    except (BusyError, CancelledError) as error:
        return type(error)


def wait_in_line(trials, pool, texts, asker):
    before = len(trials._line)
    waiting = [pool.submit(outcome, trials, text, asker) for text in texts]
    until(lambda: len(trials._line) == before + len(waiting))
    return waiting


def test_as_many_wait_as_may_and_each_holder_has_a_share(held, pool):
    trials, greedy = GrammarTrials(), Asker(Holder("greedy"))
    share = MOST_WAITING // 4
    with trying(trials, pool, held):
        waiting = wait_in_line(trials, pool, map(number, range(share)), greedy)
        assert outcome(trials, number(share), greedy) is BusyError
        numbers = map(number, range(share, MOST_WAITING))
        waiting += wait_in_line(trials, pool, numbers, Asker())
        assert outcome(trials, number(MOST_WAITING), Asker()) is BusyError
        held.let_go()
        assert {one.result() for one in waiting} == {""}
    assert outcome(trials, number(MOST_WAITING), greedy) == ""


def test_who_asks_what_is_being_tried_already_waits_without_a_place(held, pool):
    trials, greedy = GrammarTrials(), Asker(Holder("greedy"))
    with trying(trials, pool, held):
        waiting = wait_in_line(trials, pool, [number(1)] * MOST_WAITING, greedy)
        held.let_go()
        assert {one.result() for one in waiting} == {""}
    assert len(held.begun) == 2


def test_who_leaves_the_line_is_gone_and_the_others_go_on(held, pool):
    trials, leaving = GrammarTrials(), Asker()
    with trying(trials, pool, held):
        (left,) = wait_in_line(trials, pool, [number(1)], leaving)
        (stays,) = wait_in_line(trials, pool, [number(2)], Asker())
        leaving.leave()
        assert left.result() is CancelledError
        held.let_go()
        assert stays.result() == ""
    assert len(held.begun) == 2
    assert outcome(trials, number(3), leaving) is CancelledError


def test_a_trial_that_runs_ends_with_its_asker_and_says_nothing_of_the_grammar(held, pool):
    trials, asker = GrammarTrials(), Asker()
    with trying(trials, pool, held, asker) as running:
        asker.leave()
        assert running.result() is CancelledError
        assert held.num_running == 0
        held.let_go()
        assert outcome(trials, number(-1), Asker()) == ""


@pytest.mark.parametrize("number_", [signal.SIGTERM, signal.SIGKILL])
def test_a_trial_that_others_end_says_nothing_of_the_grammar(held, pool, number_):
    trials = GrammarTrials()
    with trying(trials, pool, held) as running:
        psutil.Process(held.begun[0]).send_signal(number_)
        assert running.result() is BusyError
        held.let_go()
        assert outcome(trials, number(-1), Asker()) == ""


def test_a_refused_grammar_is_remembered_among_thousands_and_costs_nothing(held, pool):
    trials = GrammarTrials()
    held.let_go()
    bad = '{"grammars": [{"json_schema": {"type": "nothing"}}]}'
    problem = outcome(trials, bad, Asker())
    assert problem
    for n in range(4000):
        trials._known.put(str(n).encode(), "no good")
    begun = len(held.begun)
    assert outcome(trials, bad, Asker()) == problem
    assert len(held.begun) == begun


@pytest.fixture(scope="module")
def family():
    return tiny_family("qwen3_vl", tiny_model("qwen3_vl"))


def test_a_good_schema_is_compiled_once_and_its_answers_do_not_meet(family, monkeypatch):
    schema = '{"const": "abc"}'
    one = grammar.open_grammar(schema, family)
    monkeypatch.setattr(grammar, "_trials", None)  # nobody takes a turn any more
    other = grammar.open_grammar(schema, family)
    start = grammar.vocabulary_of(family).tokenizer.greedy_tokenize('"')[0]
    one.advance(start)
    assert other.allowed()[start]
    assert not one.allowed()[start]


def test_a_costly_schema_costs_little_and_only_once(family):
    decoding = Decoding(schema=json.dumps(costly()))

    def refused():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with pytest.raises(QuestionError, match="too much time or memory"):
            TokenChoice(decoding, family)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert 0.1 <= refused() < 1.5  # it was tried, within its time
    assert refused() == pytest.approx(0)
