"""How pictures and clips of a request become blocks, for models whose blocks are of two frames."""

import pytest
from engine import open_session, tiny_video_llm
from one_thing import write_thing_video
from shown import owl_jpeg

from vstream.device.asker import Asker
from vstream.service.shown_media import ShownMedia, show
from vstream.sources.config import SourceConfig

PICTURE = ShownMedia("picture", owl_jpeg())


@pytest.fixture
def session():
    return open_session(tiny_video_llm("qwen2_5_vl")[0])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Of three seconds, one frame of each is sampled."""
    video = write_thing_video(tmp_path_factory.mktemp("clips") / "owl.mp4", "owl", seconds=3)
    return ShownMedia("clip", video.read_bytes(), is_clip=True)


def spans_of(session, *shown):
    """From and to of each block, in seconds."""
    config = SourceConfig(dedup_threshold=0, max_side=64)
    show(session, shown, config, 10**6, 60.0, Asker())
    memory = session.memory
    return [(memory.info(one).start_s, memory.info(one).end_s) for one in memory.visible(None)]


def test_a_picture_is_a_block_and_a_clip_is_seen_to_its_end(session, clip):
    assert session.model.family.frames_per_block == 2
    assert spans_of(session, PICTURE, clip, PICTURE) == [
        (0.0, 0.0),
        *((2.0, 3.0), (4.0, 4.0)),  # the clip's last frame fills its block
        (6.0, 6.0),
    ]


def test_without_anything_the_model_sees_a_blank_frame(session):
    assert len(spans_of(session)) == 1
    assert session.ask("Hi").answer.evidence
