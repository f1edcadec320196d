"""Every process is killed at random moments; what was acknowledged is there, and whole.

`--kills 5` is what `make test` does, `make soak` does 100.
"""

import itertools
import random
import sys
import time

import pytest
import torch
from processes import TELLS_ALL, Process, until
from redis_servers import RedisServer, redis_binary

from eval.stream_world import write_script, write_video
from memory import MemoryConfig, follow_memory
from vstream import VStreamConfig, load_video_llm, open_session
from vstream.ingest import IngestWorker
from vstream.question import Question
from vstream.stream_reader import open_reader

STREAM_S = 240
SEED = 20
ASKED = "what do you see now?"
VICTIMS = ("ingest", "redis")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("crashes") / "world.mp4"
    write_video(path, write_script(77, STREAM_S), fps=1, side_px=96)
    return path


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None)


@pytest.fixture
def server(tmp_path):
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    # A reply means that it is on disk: what a killed server replied is never lost.
    server = RedisServer(redis_binary(), tmp_path, "--appendfsync", "always")
    yield server
    server.stop()


def answered(reader, at_s):
    answer = reader.ask(Question(ASKED, at_s)).answer
    return answer.text, [(e.block_id, e.start_s, e.score) for e in answer.evidence]


def kept_whole(store, stream_id):
    """The ids of a stream's blocks, each of which can be read in every layer."""
    with follow_memory(MemoryConfig(store=store), stream_id, torch.device("cpu")) as memory:
        ids = memory.visible(None)
        for layer in range(memory.provenance.layers):
            memory.read(layer, ids, torch.float32, torch.device("cpu"))
        for block_id in ids:
            assert memory.thumbnail(block_id)[:2] == b"\xff\xd8"
        return ids


def tell(text):
    sys.stdout.write(f"{text}\n")


class Rig:
    """A store in Redis with a process that ingests into it."""

    def __init__(self, server, video, model):
        self.server, self.video = server, video
        self.config = VStreamConfig(memory=MemoryConfig(store=server.url))
        self.model = model
        self.number = itertools.count()
        self.next_stream()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.ingest.kill()

    def next_stream(self):
        self.stream_id = f"world-{next(self.number)}"
        self.start_ingest()

    def start_ingest(self):
        told = ("ingest", self.video, "--id", self.stream_id, "--store", self.server.url)
        self.ingest = Process(TELLS_ALL, *told, module="-c")

    def kill(self, victim):
        if victim == "redis":
            self.server.kill()
            time.sleep(random.random())
            self.server.start()
        else:
            self.ingest.kill()
            self.start_ingest()


@pytest.mark.timeout(3 * 3600)  # a soak kills a hundred times
def test_nothing_acknowledged_is_lost_or_half_there_or_answers_otherwise(
    request, server, video, model
):
    kills = request.config.getoption("--kills")
    chance = random.Random(SEED)
    victims = list(VICTIMS) + [chance.choice(VICTIMS) for _ in range(kills - len(VICTIMS))]
    chance.shuffle(victims)
    with Rig(server, video, model) as rig:
        for number, victim in enumerate(victims):
            before = rig.ingest.acknowledged
            until(
                lambda before=before: (
                    rig.ingest.acknowledged > before + 8 or not rig.ingest.is_running
                )
            )
            if not rig.ingest.is_running:
                assert rig.ingest.wait() == 0, "".join(rig.ingest.err)
                assert len(kept_whole(server.url, rig.stream_id)) >= rig.ingest.acknowledged
                rig.next_stream()
                until(lambda: rig.ingest.acknowledged > 8)
            time.sleep(chance.random())
            acknowledged = rig.ingest.acknowledged
            with open_reader(rig.config, model, rig.stream_id) as reader:
                at_s = reader.memory.info(acknowledged - 1).end_s
                expected = answered(reader, at_s)
            rig.kill(victim)
            tell(f"kill {number + 1}: {victim} after {acknowledged} blocks of {rig.stream_id}")
            ids = kept_whole(server.url, rig.stream_id)
            assert ids == list(range(len(ids)))
            assert len(ids) >= acknowledged
            with open_reader(rig.config, model, rig.stream_id) as reader:
                assert answered(reader, at_s) == expected
        until(lambda: not rig.ingest.is_running, 120)
        assert rig.ingest.wait() == 0, "".join(rig.ingest.err)


def test_frames_after_a_restart_differ_by_the_codecs_error(video, model, tmp_path):
    def ingested(stream_id, *ends_s):
        for until_s in ends_s:
            with open_session(config, model, stream_id) as session:
                IngestWorker(session, str(video), config.source, until_s=until_s).run()
        memory = follow_memory(config.memory, stream_id, torch.device("cpu"))
        return memory, memory.visible(None)

    config = VStreamConfig(memory=MemoryConfig(store=f"file://{tmp_path}"))
    half = STREAM_S / 2
    whole, ids = ingested("whole", None)
    halved, halved_ids = ingested("halved", half, None)
    assert halved_ids == ids
    before = [i for i in ids if whole.info(i).end_s <= half]
    after = ids[len(before) :]
    differences = []
    for layer in range(model.decoder.num_layers):
        for part in (before, after):
            ours, theirs = (
                torch.cat(memory.read(layer, part, torch.float32, torch.device("cpu")))
                for memory in (halved, whole)
            )
            difference = float((ours - theirs).norm() / theirs.norm())
            if part is before:
                assert difference == 0
            else:
                differences.append(difference)
    tell(f"relative difference by layer: {', '.join(f'{d:.4f}' for d in differences)}")
    assert max(differences) < 0.02
