"""When to speak, from judgements alone: no model, every rule a small state machine."""

from itertools import pairwise
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import Recommended
from memory import UnknownNameError
from vstream.errors import SettingsError
from vstream.speaking import SPEAKING, speaking_policy
from vstream.speaking.k_of_n import KOfN
from vstream.speaking.silence import Silence

PROBABILITIES = st.lists(st.floats(0, 1), max_size=60)
STEPS_S = st.sampled_from([0.25, 1.0, 3.0])
COOLDOWNS_S = st.sampled_from([0.0, 4.0, 10.0])


@st.composite
def k_of_n(draw):
    n = draw(st.integers(1, 6))
    return {
        "threshold": draw(st.sampled_from([0.0, 0.3, 0.5, 0.9])),
        "k": draw(st.integers(1, n)),
        "n": n,
        "cooldown_s": draw(COOLDOWNS_S),
        "release": draw(st.sampled_from([None, 0.0, 0.2, 0.7])),
    }


@st.composite
def any_rule(draw):
    """A maker of equal rules."""
    if draw(st.booleans()):
        settings = draw(k_of_n())
        return lambda: KOfN(**settings), settings["cooldown_s"]
    threshold, cooldown_s = draw(st.floats(0, 1)), draw(COOLDOWNS_S)
    return lambda: Silence(threshold, cooldown_s), cooldown_s


def firings(rule, probabilities, step_s=1.0):
    return [i for i, p in enumerate(probabilities) if rule.feed(p, i * step_s)]


def fires_by_definition(probabilities, step_s, threshold, k, n, cooldown_s, release):
    """KOfN read off the whole list at once."""

    def of_the_last(limit):
        is_over = [p > limit for p in probabilities]
        return [sum(is_over[max(0, i + 1 - n) : i + 1]) >= k for i in range(len(is_over))]

    is_present = of_the_last(threshold)
    is_held = is_present if release is None else of_the_last(min(release, threshold))
    fired = []
    for i, over in enumerate(p > threshold for p in probabilities):
        is_new = not fired or not all(is_held[fired[-1] : i])
        is_quiet = bool(fired) and i * step_s < fired[-1] * step_s + cooldown_s
        if over and is_present[i] and is_new and not is_quiet:
            fired.append(i)
    return fired


@given(PROBABILITIES, STEPS_S, k_of_n())
def test_k_of_n_fires_as_its_definition_says(probabilities, step_s, settings):
    wanted = fires_by_definition(probabilities, step_s, **settings)
    assert firings(KOfN(**settings), probabilities, step_s) == wanted


@given(PROBABILITIES, STEPS_S, any_rule())
def test_it_never_fires_twice_within_the_cool_down(probabilities, step_s, rule):
    make, cooldown_s = rule
    fired = firings(make(), probabilities, step_s)
    gaps_s = [(later - earlier) * step_s for earlier, later in pairwise(fired)]
    assert all(gap_s >= cooldown_s for gap_s in gaps_s)


@given(PROBABILITIES, any_rule())
def test_feeding_the_same_gives_the_same(probabilities, rule):
    make, _ = rule
    assert firings(make(), probabilities) == firings(make(), probabilities)


@given(PROBABILITIES, PROBABILITIES, any_rule())
def test_a_rule_that_takes_the_place_of_an_equal_one_goes_on_as_that_would(before, after, rule):
    make, _ = rule
    replaced, later = make(), make()
    told = firings(replaced, before)
    later.go_on_from(replaced)
    told += [i for i, p in enumerate(after, len(before)) if later.feed(p, float(i))]
    assert told == firings(make(), before + after)


@given(PROBABILITIES, k_of_n())
def test_it_never_fires_at_a_judgement_that_is_not_over_the_threshold(probabilities, settings):
    fired = firings(KOfN(**settings), probabilities)
    assert all(probabilities[i] > settings["threshold"] for i in fired)


@given(PROBABILITIES, STEPS_S, k_of_n())
def test_a_lasting_yes_is_told_within_n_judgements_and_once(before, step_s, settings):
    rule = KOfN(**settings)
    quiet = [0.0] * (settings["n"] + int(settings["cooldown_s"] / step_s))
    firings(rule, before, step_s)
    start_s = len(before) * step_s
    assert not any(rule.feed(p, start_s + i * step_s) for i, p in enumerate(quiet))
    start_s += len(quiet) * step_s
    told = [rule.feed(1.0, start_s + i * step_s) for i in range(50)]
    assert told.index(True) == settings["k"] - 1 < settings["n"]
    assert told.count(True) == 1


@given(st.lists(st.booleans(), max_size=60), k_of_n())
def test_flicker_of_fewer_than_k_never_fires(wishes, settings):
    shown = []
    for wish in wishes:  # all that leaves fewer than k among any n in a row
        window = shown[-(settings["n"] - 1) :] if settings["n"] > 1 else []
        shown.append(wish and sum(window) + 1 < settings["k"])
    assert firings(KOfN(**settings), [float(s) for s in shown]) == []


def test_a_continuing_presence_that_flickers_is_told_once():
    seen = [1, 1, 0, 1, 1, 1, 0, 1, 1] * 20
    assert firings(KOfN(k=2, n=3, cooldown_s=0), seen) == [1]


def test_what_wavers_about_the_threshold_is_told_once_if_it_stays_over_the_release():
    wavers = [0.1, 0.96, 0.9, 0.97, 0.8, 0.98, 0.3, 0.96]
    assert firings(KOfN(0.95, k=1, n=1, cooldown_s=0), wavers) == [1, 3, 5, 7]
    assert firings(KOfN(0.95, k=1, n=1, cooldown_s=0, release=0.7), wavers) == [1, 7]


def test_a_threshold_under_the_release_is_the_release():
    seen = [0.4, 0.6, 0.6, 0.2, 0.6]
    assert firings(KOfN(0.5, k=1, n=1, cooldown_s=0, release=0.7), seen) == [1, 4]


def test_what_comes_back_within_the_cool_down_is_told_after_it_if_it_is_still_there():
    rule = KOfN(k=2, n=3, cooldown_s=10)
    back = [0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert firings(rule, back) == [2, 12]
    gone_again = [0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert firings(KOfN(k=2, n=3, cooldown_s=10), gone_again) == [2]


def test_a_cool_down_that_ends_at_a_flicker_is_followed_by_a_judgement_that_is_over():
    flickers_at_12 = [0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1]
    assert firings(KOfN(k=2, n=3, cooldown_s=10), flickers_at_12) == [2, 13]


def test_a_probability_that_is_no_number_is_not_over_the_threshold():
    assert firings(KOfN(k=1, n=1), [nan, nan]) == []


@given(PROBABILITIES)
def test_at_threshold_0_silence_is_broken_by_what_is_more_probable(probabilities):
    wanted = [i for i, p in enumerate(probabilities) if p > 1 - p]
    assert firings(Silence(threshold=0), probabilities) == wanted


@given(PROBABILITIES)
def test_at_threshold_1_it_speaks_unless_silence_is_certain(probabilities):
    wanted = [i for i, p in enumerate(probabilities) if 1 - p < 1]
    assert firings(Silence(threshold=1), probabilities) == wanted


@given(PROBABILITIES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_on_silence_never_speaks_less(probabilities, one, other):
    low, high = sorted((one, other))
    less, more = (set(firings(Silence(t), probabilities)) for t in (low, high))
    assert less <= more


def test_the_papers_threshold_speaks_at_a_quarter_of_the_mass_and_not_at_much_less():
    assert firings(Silence(), [0.27, 0.28, 0.9]) == [1, 2]


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 0},
        {"k": 4, "n": 3},
        {"threshold": -0.1},
        {"threshold": 1.0},
        {"threshold": nan},
        {"cooldown_s": -1},
        {"cooldown_s": inf},
        {"cooldown_s": nan},
        {"release": 1.0},
        {"release": -0.1},
        {"release": nan},
    ],
)
def test_settings_under_which_it_could_never_or_always_speak_are_refused(settings):
    with pytest.raises(SettingsError, match="wanted"):
        KOfN(**settings)
    if not {"k", "release"} & settings.keys() and settings.get("threshold") != 1.0:
        with pytest.raises(SettingsError, match="wanted"):
            Silence(**settings)


@given(k_of_n())
def test_stream_time_may_begin_anywhere(settings):
    rule = KOfN(**settings)
    told = [rule.feed(1.0, 86_400.0 + i) for i in range(settings["n"])]
    assert told.count(True) == 1


QUIET = Recommended(silence_words=("silence",))
PLAIN = Recommended(alert_threshold=0.9, alert_confirmations=3, alert_release=0.8)


def test_a_policy_is_chosen_by_name_or_as_the_model_recommends():
    assert SPEAKING.names() == ["k_of_n", "silence"]
    assert isinstance(speaking_policy(None, PLAIN), KOfN)
    assert isinstance(speaking_policy(None, QUIET), Silence)
    assert isinstance(speaking_policy(None, QUIET, threshold=0.5), KOfN)
    assert isinstance(speaking_policy("silence", PLAIN), Silence)


def test_what_is_not_wished_for_is_the_models_own():
    told = [0.95, 0.95, 0.95, 0.95]
    assert firings(speaking_policy("k_of_n", PLAIN), told) == [2]
    assert firings(speaking_policy("k_of_n", PLAIN, confirmations=1), told) == [0]
    assert firings(speaking_policy("silence", PLAIN, 0.01, cooldown_s=2), told) == [0, 2]


def test_an_unknown_policy_is_refused_with_those_there_are():
    with pytest.raises(UnknownNameError, match="known: k_of_n, silence"):
        speaking_policy("never", PLAIN)
