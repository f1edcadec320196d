"""What is shown of an answer never has to be taken back, and never holds a stop string."""

from hypothesis import given
from hypothesis import strategies as st

from vstream.decoding.token_choice import StopStrings

TEXTS = st.text("ab\n", max_size=30)
STOPS = st.lists(st.text("ab\n", min_size=1, max_size=4), max_size=3)


@given(TEXTS, STOPS)
def test_what_is_settled_only_grows_into_the_cut_text(text, stop_list):
    stops = StopStrings(stop_list)
    shown = ""
    for end in range(len(text) + 1):
        settled = stops.settled(text[:end])
        assert settled.startswith(shown)
        shown = settled
        if stops.are_in(text[:end]):
            break
    assert stops.cut(text[:end]).startswith(shown)
    assert not stops.are_in(stops.cut(text))


@given(TEXTS, STOPS)
def test_all_is_settled_but_what_may_become_a_stop_string(text, stop_list):
    stops = StopStrings(stop_list)
    if stops.are_in(text):
        assert stops.settled(text) == stops.cut(text)
        return
    held = stops.cut(text).removeprefix(stops.settled(text))
    if held:
        assert any(stop.startswith(held) and stop != held for stop in stop_list)
        assert not stops.are_in(text[: len(text) - len(held)])


def test_the_first_stop_string_counts():
    stops = StopStrings(["\n\n", "END"])
    assert stops.cut("a\nb END c\n\nd") == "a\nb "
    assert stops.settled("a\n") == "a"
    assert stops.settled("a EN") == "a "
    assert stops.settled("a ENx") == "a ENx"
    assert not StopStrings([])
    assert StopStrings([]).settled("a\n") == "a\n"
