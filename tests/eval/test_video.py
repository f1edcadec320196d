import json
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from eval.stream_world import History, Renderer, write_script, write_video
from eval.stream_world.__main__ import cli
from eval.stream_world.sample import sample_questions
from eval.stream_world.script import play
from eval.stream_world.video import frames, glide

SAMPLE = Path(__file__).parents[2] / "app" / "assets"


@pytest.mark.parametrize("fps", [1, 3])
def test_the_video_shows_each_moment_at_its_second(tmp_path: Path, fps: int) -> None:
    script = write_script(4, 6)
    write_video(tmp_path / "stream.mp4", script, fps, side_px=96, quality=18)
    with av.open(str(tmp_path / "stream.mp4")) as container:
        decoded = [
            (frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
        ]
    assert [time_s for time_s, _ in decoded] == pytest.approx([i / fps for i in range(6 * fps)])
    renderer = Renderer()
    for (_, pixels), moment in zip(decoded[::fps], script.moments, strict=True):
        assert np.abs(pixels.astype(int) - renderer.frame(moment)).mean() < 8


def test_between_two_seconds_objects_are_half_way() -> None:
    pairs = pairwise(write_script(2003, 60).moments)
    for now, after in pairs:
        assert glide(now, after, 0.0) == now
        for item in glide(now, after, 0.5).items:
            start, end = now.find(item.name), after.find(item.name)
            if start and end and start.track == end.track:
                assert item.x == pytest.approx((start.x + end.x) / 2)


def test_frames_of_an_endless_stream_begin_like_those_of_its_first_seconds() -> None:
    endless = list(islice(frames(play(4), 2, 48), 10))
    assert np.array_equal(endless, list(frames(write_script(4, 6).moments, 2, 48))[:10])


def test_the_command_line_writes_a_video_and_a_sample(tmp_path: Path) -> None:
    runner, common = (
        CliRunner(),
        ["--seed", "2003", "--seconds", "60", "--fps", "1", "--side", "48"],
    )
    video = runner.invoke(cli, ["video", *common, "--out", str(tmp_path / "stream.mp4")])
    assert video.exit_code == 0, video.output
    with av.open(str(tmp_path / "stream.mp4")) as container:
        assert container.streams.video[0].frames == 60
    sample = runner.invoke(cli, ["sample", *common, "--out", str(tmp_path)])
    assert sample.exit_code == 0, sample.output
    sheet = json.loads((tmp_path / "sample_stream.json").read_text(encoding="utf-8"))
    assert (
        sheet["command"]
        == f"python -m eval.stream_world sample {' '.join(common)} --out {tmp_path}"
    )
    assert len(sheet["questions"]) >= 3


def test_the_bundled_sample_is_what_its_command_says() -> None:
    sheet = json.loads((SAMPLE / "sample_stream.json").read_text(encoding="utf-8"))
    seed = int(sheet["command"].split("--seed ")[1].split()[0])
    script = write_script(seed, sheet["length_s"])
    told = [(entry["asked_s"], entry["question"], entry["answer"]) for entry in sheet["questions"]]
    assert told == [(q.asked_s, q.text, q.answer) for q in sample_questions(script)]
    assert len(told) >= 6
    with av.open(str(SAMPLE / "sample_stream.mp4")) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert container.streams.video[0].frames == sheet["length_s"] * sheet["fps"]
    drawn = Renderer(first.shape[0]).frame(script.moments[0]).astype(int)
    assert np.abs(first - drawn).mean() < 8


def test_the_bundled_sample_is_varied() -> None:
    sheet = json.loads((SAMPLE / "sample_stream.json").read_text(encoding="utf-8"))
    seed = int(sheet["command"].split("--seed ")[1].split()[0])
    moments = write_script(seed, sheet["length_s"]).moments
    history = History(moments)
    assert len(history.names) >= 10
    assert "sign" in history.names
    assert len({moment.backdrop.scene for moment in moments}) >= 4
    assert sum(" turned " in event for event in history.events(1)) >= 3
    assert sum(not moment.items for moment in moments) <= 0.1 * len(moments)
