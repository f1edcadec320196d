import os

import pytest

from vstream import stream_id_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rtsp://cam-a/live@1", "rtsp://cam-b/live@1"),
        ("rtsp://h/user=admin_password=x_channel=1", "rtsp://h/user=admin_password=x_channel=2"),
        ("http://h/v?key=1", "http://h/v?key=2"),
        ("webcam:0", "webcam:1"),
    ],
)
def test_different_sources_have_different_ids(one, other):
    assert stream_id_of(one) != stream_id_of(other)


def test_a_changed_password_does_not_change_the_stream():
    assert stream_id_of("rtsp://me:old@cam/1") == stream_id_of("rtsp://me:new@cam/1")
    assert "old" not in stream_id_of("rtsp://me:old@cam/1")


def test_a_file_is_known_by_its_path_and_contents(tmp_path):
    path = tmp_path / "clip one.mp4"
    path.write_bytes(b"a")
    first = stream_id_of(str(path))
    assert first == stream_id_of(str(path))
    assert first.startswith("clip-one-")
    path.write_bytes(b"ab")
    assert stream_id_of(str(path)) != first


def test_a_file_name_that_is_no_text_has_an_id(tmp_path):
    path = os.fsencode(tmp_path) + b"/bad\xff.mp4"
    with open(path, "wb") as file:
        file.write(b"a")
    assert stream_id_of(os.fsdecode(path)).startswith("bad-")
