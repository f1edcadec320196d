"""What the page draws by itself: the strip of the history, and the line of a stream's state."""

import re

from app.page.status_line import status_line
from app.page.timeline_strip import timeline_strip
from app.page.visitors import Visitors
from app.page.words import clock, length, size
from app.server.documents import Citation
from app.server.timeline_routes import Timeline, TimelinePart


def timeline(count):
    parts = [
        TimelinePart(
            from_s=float(n), to_s=n + 1.0, captured_at=0.0, blocks=1, change=n / count, change_s=n
        )
        for n in range(count)
    ]
    return Timeline(stream_id="door", from_s=0.0, to_s=float(count), part_s=1.0, parts=parts)


def cited(end_s, score):
    return Citation(
        stream_id="door",
        start="",
        end="",
        start_s=end_s,
        end_s=end_s,
        captured_at=0.0,
        score=score,
        frame_url="",
    )


def test_bars_are_as_high_as_their_scores_and_stand_where_the_moment_was():
    strip = timeline_strip(timeline(100), [cited(25.0, 0.5), cited(75.0, 1.0)])
    bars = re.findall(r'class="cited" x="([\d.]+)" width="4" y="[\d.]+" height="([\d.]+)"', strip)
    assert [(float(x) + 2, float(height)) for x, height in bars] == [(250.0, 30.0), (750.0, 60.0)]


def test_a_picked_range_is_shaded_and_no_history_is_said():
    assert 'class="asked" x="100.0" width="200.0"' in timeline_strip(
        timeline(100), asked=(10.0, 30.0)
    )
    assert "history" in timeline_strip(None)


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
