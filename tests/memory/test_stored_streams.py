"""What can be told of a store from outside, and stores of the first format."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
import redis
import torch
from kv_blocks import CPU, LAYERS, as_of_a_newer_version, kv_block, kv_stream, memory_of

from memory import (
    MemoryConfig,
    StoredStream,
    StoreError,
    erase_stored,
    find_stream,
    note_stored,
    open_stored,
    stored_ids,
    stored_streams,
    tier_of,
)
from memory.tiers.file import file_follower
from memory.tiers.object.object_link import ObjectLink

STORE_V1 = Path(__file__).parents[1] / "data" / "store_v1"


def content(folder):
    """But for signs of life."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: path.read_bytes() for path in paths if path.parent.name != "leases"}


@pytest.mark.parametrize("kind", ["file", "redis", "valkey", "object", "s3"])
def test_a_store_tells_of_its_streams_while_one_is_written(kind, tmp_path, request):
    store = f"file://{tmp_path}/store"
    if kind != "file":
        store = request.getfixturevalue(f"{kind}_server").url
    assert stored_streams(store) == []
    with memory_of(store, stream_id="door") as door:
        for block in kv_stream(3):
            door.append(block)
    with memory_of(store) as camera:
        for block in kv_stream(7):
            camera.append(block)
        before = content(tmp_path)
        [tier] = {*camera.stats().bytes_by_tier} - {"host"}
        bytes_by_tier = {tier: camera.stats().bytes_by_tier[tier]}
        live = StoredStream("camera", "live", 7, -0.5, 6.0, bytes_by_tier)
        assert stored_streams(store)[0] == live
        assert content(tmp_path) == before
        assert camera.append(kv_block(end_s=9.0)) == 7
    assert [(s.id, s.state, s.blocks) for s in stored_streams(store)] == [
        ("camera", "stored", 8),
        ("door", "stored", 3),
    ]


def said(store, stream_id):
    if (dialogue := tier_of(store).dialogue(stream_id, "kim")) is not None:
        with dialogue:
            dialogue.add("what?", f"a {stream_id}")


@pytest.mark.parametrize("kind", ["file", "redis", "valkey", "object", "s3"])
def test_nothing_is_left_of_a_stream_that_was_erased(kind, tmp_path, request):
    store, keys = f"file://{tmp_path}/store", None
    if kind != "file":
        server = request.getfixturevalue(f"{kind}_server")
        store = server.url
        keys = None if kind in ("object", "s3") else redis.Redis.from_url(store)
    with memory_of(store, stream_id="door") as door:
        door.append(kv_block())
    said(store, "door")
    config = MemoryConfig(store=store)
    for by_its_writer in (True, False):
        with memory_of(store) as camera:
            for block in kv_stream(40):
                camera.append(block)
            camera.set_note({"colour": "red"})
            said(store, "camera")
            if by_its_writer:
                camera.erase()
        if not by_its_writer:
            note_stored(config, "camera", {"colour": "blue"})
            assert find_stream(store, "camera").note == {"colour": "blue"}
            erase_stored(config, "camera")
        assert stored_ids(store) == ["door"]
        assert find_stream(store, "camera") is None
    if kind == "file":
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["door"]
    elif keys is None:
        with closing(ObjectLink(store)) as link:
            assert not [name for name in link.names("") if "camera" in name]
        assert not list(tmp_path.rglob("camera/*"))
    else:
        assert [key for key in keys.scan_iter() if b"camera" in key] == []
        with tier_of(store).dialogue("door", "kim") as dialogue:
            assert dialogue.turns() == [("what?", "a door")]
        keys.close()


def test_half_a_block_at_the_end_is_not_told_of_and_not_touched(tmp_path):
    with memory_of(f"file://{tmp_path}") as memory:
        for block in kv_stream(3):
            memory.append(block)
    (segment,) = (tmp_path / "camera" / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-9])
    before = content(tmp_path)
    assert stored_streams(f"file://{tmp_path}")[0].blocks == 2
    assert content(tmp_path) == before


def test_a_damaged_stream_says_so_and_hides_no_other(tmp_path):
    store = f"file://{tmp_path}"
    for name in ("attic", "camera", "door"):
        with memory_of(store, stream_id=name) as memory:
            for block in kv_stream(3):
                memory.append(block)
    (segment,) = (tmp_path / "camera" / "segments").iterdir()
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    num_bytes = segment.stat().st_size
    (tmp_path / "door" / "segments").rename(tmp_path / "elsewhere")
    (tmp_path / "door" / "segments").mkdir()
    (tmp_path / "door" / "segments" / "000000000000-000000.vskv").symlink_to(tmp_path)
    attic, camera, door = stored_streams(store)
    assert (attic.blocks, attic.damaged, attic.error) == (3, 0, None)
    assert (camera.id, camera.blocks, camera.bytes_by_tier) == ("camera", 2, {"file": num_bytes})
    assert (camera.damaged, camera.error) == (1, None)
    assert (door.blocks, door.bytes_by_tier) == (0, {"file": 0})
    assert "door" in door.error


def test_a_stream_that_cannot_be_read_can_be_deleted_unless_somebody_writes_it(tmp_path):
    config = MemoryConfig(store=f"file://{tmp_path}")
    with memory_of(config.store, stream_id="camera") as memory:
        for block in kv_stream(3):
            memory.append(block)
        with pytest.raises(StoreError, match="is being written"):
            erase_stored(config, "camera")
    (segment,) = (tmp_path / "camera" / "segments").iterdir()
    segment.write_bytes(as_of_a_newer_version(segment.read_bytes()))
    with pytest.raises(StoreError, match="newer"), open_stored(config, "camera"):
        pass
    erase_stored(config, "camera")
    assert not (tmp_path / "camera").exists()
    with pytest.raises(StoreError, match="no such stream"):
        erase_stored(config, "camera")


@pytest.mark.parametrize("is_back", [True, False])
def test_a_segment_that_is_written_anew_meanwhile_is_looked_for_again(
    is_back, tmp_path, monkeypatch
):
    store = f"file://{tmp_path}"
    for name in ("camera", "door"):
        with memory_of(store, stream_id=name) as memory:
            for block in kv_stream(3):
                memory.append(block)
    looks, newest_segments = [], file_follower.newest_segments

    def gone_meanwhile(folder):
        looks.append(folder)
        found = newest_segments(folder)
        if looks.count(folder) == 1 or not is_back:
            return {
                first: path.with_name("000000000000-000009.vskv") for first, path in found.items()
            }
        return found

    monkeypatch.setattr(file_follower, "newest_segments", gone_meanwhile)
    told = [(stream.blocks, stream.error is None) for stream in stored_streams(store)]
    assert told == [(3, True), (3, True)] if is_back else [(0, False), (0, False)]


@pytest.mark.parametrize("store", ["memory://", "file:///nowhere/at/all"])
def test_a_store_without_streams_has_none(store):
    assert stored_streams(store) == []


def test_a_stream_is_opened_whatever_made_it(tmp_path):
    store = f"file://{tmp_path}"
    with memory_of(store, fingerprint="some model") as memory:
        for block in kv_stream(5):
            memory.append(block)
    with open_stored(MemoryConfig(store=store), "camera") as memory:
        assert memory.forget(1.0, 2.0) == 2
    with memory_of(store, fingerprint="some model") as memory:
        assert memory.visible(None) == [0, 3, 4]


@pytest.mark.parametrize("store", ["memory://", "file://"])
def test_a_stream_that_is_not_there_is_named_and_not_made(store, tmp_path):
    store = f"file://{tmp_path}" if store == "file://" else store
    for name in ("camera", "../up"):
        with pytest.raises(StoreError, match=r"no (such )?stream|stream id"):
            open_stored(MemoryConfig(store=store), name)
    assert list(tmp_path.iterdir()) == []


def test_a_store_of_the_first_format_is_brought_up_to_date_and_keeps_all(tmp_path):
    shutil.copytree(STORE_V1, tmp_path / "store")
    store = f"file://{tmp_path}/store"
    for _ in range(2):
        with memory_of(store) as memory, memory_of() as fresh:
            for block in kv_stream(5):
                fresh.append(block)
            assert memory.visible(None) == [0, 1, 2, 3, 4]
            assert memory.note == {"fps": 2.0}
            for layer in range(LAYERS):
                pair = (m.read(layer, range(5), torch.float32, CPU) for m in (memory, fresh))
                assert all(map(torch.equal, *pair))
            assert memory.thumbnail(3) == fresh.thumbnail(3)
    with memory_of(store) as memory:
        assert memory.append(kv_block(end_s=5.0)) == 5
    with memory_of(store) as memory:
        assert memory.visible(None) == [0, 1, 2, 3, 4, 5]
