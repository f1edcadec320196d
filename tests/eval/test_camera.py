import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from rtsp_camera import free_port

from eval.stream_world.script import play
from eval.stream_world.video import frames

SEED, FPS, SIDE_PX = 5, 4, 96
COMMAND = [sys.executable, "-m", "eval.stream_world", "camera", "--seed", str(SEED)]


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    options = ["--port", str(free_port()), "--fps", str(FPS), "--side", str(SIDE_PX)]
    process = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, text=True, env={"TMPDIR": str(tmp_path)}
    )
    yield process
    process.terminate()
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def test_the_camera_plays_its_seed_from_the_first_second_and_leaves_no_file(
    camera: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert camera.stdout is not None
    address = camera.stdout.readline().strip()
    options = {"rtsp_transport": "tcp", "analyzeduration": "500000"}
    with av.open(address, options=options, timeout=10) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        shown = [
            frame.to_ndarray(format="rgb24").astype(int)
            for frame in islice(container.decode(video=0), FPS)
        ]
    assert len(shown) == FPS
    for pixels, expected in zip(shown, frames(play(SEED), FPS, SIDE_PX), strict=False):
        assert np.abs(pixels - expected).mean() < 10
    assert list(tmp_path.rglob("*.mkv"))
    camera.send_signal(signal.SIGTERM)
    assert camera.wait(10) == 0
    assert not list(tmp_path.rglob("*.mkv"))
