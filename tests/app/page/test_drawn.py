"""What the page draws by itself: the line of a stream's state, and words."""

from app.page.status_line import status_line
from app.page.visitors import Visitors
from app.page.words import clock, length, size


def test_what_the_service_says_is_text_and_never_markup():
    assert "<script>" not in status_line(None, "<script>alert(1)</script>")


def test_visitors_are_told_apart_and_forgotten():
    visitors = Visitors()
    one, other = visitors.of("a"), visitors.of("b")
    one.ask("who?", "door").answer = "a cat"
    assert other.shown() == []
    assert visitors.of("a") is one
    assert visitors.leave("a") is one
    assert visitors.of("a") is not one


def test_a_stopped_answer_is_stopped_and_no_part_of_the_dialogue():
    visitor = Visitors().of("a")
    first = visitor.ask("who?", "door")
    first.answer, first.is_running = "a cat", False
    second = visitor.ask("where?", "door")
    visitor.stop()
    assert (first.is_stopped, second.is_stopped) == (False, True)
    assert [one["content"] for one in visitor.dialogue("door")] == ["who?", "a cat"]


def test_numbers_are_told_in_words_for_people():
    assert [clock(65), clock(3725)] == ["1:05", "1:02:05"]
    assert [length(90), length(600), length(9000)] == ["90 s", "10 min", "2.5 h"]
    assert size(12_300_000) == "12 MB"
