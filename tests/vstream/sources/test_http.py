"""http addresses: a file is read whole, anything else is a live stream."""

from itertools import pairwise

import pytest
from slow_web import evenly
from synthetic_video import number_in, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, open_source

CONFIG = SourceConfig(connect_timeout_s=5, read_timeout_s=2, retry_min_s=0.05, retry_max_s=0.1)


def test_a_video_file_on_a_web_server_is_read_whole(tmp_path):
    content = write_video(tmp_path / "clip.mkv", num_frames=20).read_bytes()
    with evenly(content, seconds=0) as url, open_source(f"{url}/clip.mkv", CONFIG) as source:
        assert not source.is_live
        assert [number_in(frame.pixels) for frame in source] == list(range(20))


def test_any_other_http_address_is_live_and_connected_anew_when_it_ends(tmp_path):
    content = write_video(tmp_path / "clip.ts", num_frames=30, fps=30).read_bytes()
    frames = []
    with evenly(content, seconds=0.5) as url, open_source(f"{url}/live", CONFIG) as source:
        assert source.is_live
        for frame in source:
            frames.append(frame)
            if source.status.counts.reconnects >= 2:
                break
    assert all(a.stream_s < b.stream_s for a, b in pairwise(frames))


@pytest.mark.parametrize(
    ("path", "code"), [("missing", "STREAM_NOT_FOUND"), ("missing.mp4", "FILE_NOT_FOUND")]
)
def test_a_missing_page_is_reported_without_the_password(path, code):
    with evenly(b"", seconds=0) as url, pytest.raises(SourceError) as caught:
        list(open_source(f"{url}/{path}", CONFIG))
    assert caught.value.code == code
    assert "hunter2" not in str(caught.value)
