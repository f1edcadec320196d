"""reach_source tells at once what cannot be had, and waits for nobody."""

import socket

import pytest
from synthetic_video import write_video

from vstream.errors import SourceError
from vstream.sources import reach
from vstream.sources.config import SourceConfig
from vstream.sources.reach import reach_source

CONFIG = SourceConfig()


def test_of_a_file_the_length_is_known(tmp_path):
    video = write_video(tmp_path / "clip.mp4", num_frames=25, fps=10)
    assert reach_source(str(video), CONFIG) == pytest.approx(2.5)


@pytest.mark.parametrize("transport", ["tcp", "auto"])
def test_a_refused_connection_is_told(transport):
    with pytest.raises(SourceError, match="refused"):
        reach_source("rtsp://127.0.0.1:1/none", SourceConfig(transport=transport))


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        reach_source(str(tmp_path / "clip.mp4"), CONFIG)


def test_who_answers_late_is_left_to_others(monkeypatch):
    monkeypatch.setattr(reach, "_PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert reach_source(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/1", CONFIG) is None
