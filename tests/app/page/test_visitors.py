"""Who is there and who has left, and what a visitor's address is called."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.page.source_part import _name_of
from app.page.visitors import CAMERA, CAMERA_ID, Visitor, Visitors

WORD = st.text("abcdefghijkmnopqrstuvwxyz0123456789", min_size=6, max_size=12)


@pytest.fixture
def later(monkeypatch):
    """Moves the clock on by so many seconds."""
    shift_s, now = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + shift_s[0])
    return lambda seconds: shift_s.__setitem__(0, shift_s[0] + seconds)


def test_one_who_left_and_looks_again_later_is_there(later):
    visitors = Visitors()
    first = visitors.of("a")
    assert visitors.leave("a") is first
    visitors.of("a")  # something of theirs that was on its way
    assert visitors.has_left("a")
    later(6)
    assert visitors.of("a") is not first
    assert not visitors.has_left("a")


def test_one_of_whom_nothing_is_heard_has_left(later):
    visitors = Visitors()
    silent, other = visitors.of("silent"), visitors.of("other")
    later(1800)
    visitors.of("other")
    assert visitors.leave_unseen() == []
    later(1810)
    assert visitors.leave_unseen() == [silent]
    assert list(visitors) == [other]
    assert visitors.has_left("silent")


def test_those_who_left_are_not_remembered_without_end():
    visitors = Visitors()
    for number in range(1100):
        visitors.leave(str(number))
    assert not visitors.has_left("99")
    assert visitors.has_left("100")


def test_what_is_called_like_a_camera_is_none():
    assert CAMERA_ID.fullmatch(Visitor().camera_id)
    assert not CAMERA_ID.fullmatch(f"{CAMERA}entrance")


@given(WORD, WORD, st.sampled_from(["", "/", "/stream1", "/stream1?x=1", ":554/", ":554/a/b.sdp"]))
def test_a_name_is_never_made_of_a_password(user, password, rest):
    name = _name_of(f"rtsp://{user}:{password}@cam.lan{rest}")
    assert _name_of(f"rtsp://{user}:{password}/{password}@cam.lan{rest}") == "stream"
    assert name == (("b" if "b.sdp" in rest else "stream1") if rest.strip("/:54") else "cam-lan")


def test_what_a_camera_takes_in_its_path_is_no_name():
    assert _name_of("rtsp://192.168.1.10:554/user=admin&password=hunter2&channel=1.sdp") == "stream"


def test_a_file_is_called_by_its_name():
    assert _name_of("/data/My Clip.mp4") == "my-clip"
    assert _name_of("http://[broken") == "stream"
