import os
import re
import sys

import pytest
import torch
from kv_blocks import CPU, as_of_a_newer_version, kv_block, kv_stream, memory_of, same_info
from processes import Process

from memory import FingerprintMismatchError, StoreError
from memory.block_record import FORMAT_VERSION
from memory.tiers.file.whole_files import read_checked, write_checked


@pytest.fixture
def store(tmp_path):
    """A store that holds five blocks of the stream "camera"."""
    url = f"file://{tmp_path}"
    with memory_of(url) as memory:
        for block in kv_stream(5):
            memory.append(block)
        memory.set_note({"fps": 2.0})
    return url


@pytest.fixture
def folder(store, tmp_path):
    return tmp_path / "camera"


def segment_of(folder):
    (segment,) = (folder / "segments").iterdir()
    return segment


def test_a_reopened_stream_continues_where_it_was(store):
    with memory_of(store) as memory:
        assert memory.num_blocks == 5
        assert memory.append(kv_block(end_s=5.0, seed=5)) == 5
    with memory_of(store) as memory:
        assert all(same_info(memory.info(i), block.info) for i, block in enumerate(kv_stream(5)))
        assert memory.info(5).end_s == 5.0
        assert memory.stats().blocks == 6


def test_streams_in_one_directory_are_apart(store):
    with memory_of(store, stream_id="door") as door, memory_of(store) as camera:
        door.append(kv_block(end_s=99.0))
        assert (door.num_blocks, camera.num_blocks) == (1, 5)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"fingerprint": "model-b"}, "fingerprint 'model-a' is stored, 'model-b' is wanted"),
        ({"kv_heads": 1}, "kv_heads 2 is stored, 1 is wanted"),
    ],
)
def test_a_stream_of_another_make_is_refused_by_name(store, wanted, told):
    with pytest.raises(FingerprintMismatchError, match=f"{told}.*choose another stream id"):
        memory_of(store, **wanted)
    with memory_of(store) as memory:
        assert memory.num_blocks == 5


def test_blocks_of_another_make_are_refused_even_without_their_description(store, folder):
    for description in folder.glob("stream*.json"):
        description.unlink()
    with pytest.raises(FingerprintMismatchError, match=r"block 0: .*'model-a' is stored"):
        memory_of(store, fingerprint="model-b")


def test_a_half_written_last_block_is_cut_and_counted(store, folder):
    blocks = segment_of(folder)
    os.truncate(blocks, blocks.stat().st_size - 7)
    (folder / "segments.json").unlink()  # a killed writer has not noted that it was whole
    with memory_of(store) as memory:
        assert memory.num_blocks == 4
        assert memory.stats().cut_bytes > 0
        memory.append(kv_stream(5)[4])
    with memory_of(store) as memory:
        assert memory.num_blocks == 5
        assert memory.stats().cut_bytes == 0


def test_a_writer_that_is_killed_leaves_all_blocks_it_had_appended(tmp_path):
    script = """
import os, sys
sys.path.append(sys.argv[2])
from kv_blocks import kv_stream, memory_of
memory = memory_of(sys.argv[1])
for block in kv_stream(7):
    memory.append(block)
os._exit(9)
"""
    support = os.path.dirname(sys.modules["kv_blocks"].__file__)
    store = f"file://{tmp_path}"
    assert Process(script, store, support, module="-c").wait() == 9
    with memory_of(store) as memory, memory_of() as never_killed:
        for block in kv_stream(7):
            never_killed.append(block)
        one, other = (kept.read(1, range(7), torch.float32, CPU) for kept in (memory, never_killed))
        assert all(map(torch.equal, one, other))


def test_a_damaged_block_in_the_middle_is_left_out_and_named(store, folder, capsys):
    blocks = segment_of(folder)
    content = bytearray(blocks.read_bytes())
    content[40] ^= 1
    blocks.write_bytes(content)
    with memory_of(store) as memory:
        assert memory.visible(None) == [1, 2, 3, 4]
    assert f"{blocks}: bytes 0 to " in capsys.readouterr().out
    assert blocks.read_bytes() == content


def test_a_block_of_the_next_format_version_is_refused(store, folder):
    blocks = segment_of(folder)
    blocks.write_bytes(as_of_a_newer_version(blocks.read_bytes()))
    with pytest.raises(StoreError, match=f"format version {FORMAT_VERSION + 1}.*newer vstream"):
        memory_of(store)


def test_a_stream_of_the_next_format_version_is_refused(store, folder):
    described = read_checked(folder / "stream.json")
    described["format_version"] += 1
    write_checked(folder / "stream.json", described)
    with pytest.raises(StoreError, match=r"stream\.json: has format version 4.*newer vstream"):
        memory_of(store)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format_version": 2}', '{"note": {}}'])
def test_a_description_that_makes_no_sense_is_named_where_nothing_makes_it_good(
    store, folder, text
):
    for description in folder.glob("stream*.json"):
        description.write_text(text)
    segment_of(folder).write_bytes(b"")
    with pytest.raises(StoreError, match=r"stream.*\.json: is not a description of a stream"):
        memory_of(store)


def test_a_second_writer_is_refused_until_the_first_has_closed(store):
    with (
        memory_of(store) as first,
        pytest.raises(StoreError, match="camera: is being written"),
    ):
        memory_of(store)
    assert first.num_blocks == 5
    memory_of(store).close()


def test_a_refused_stream_is_not_left_locked(store, folder):
    with pytest.raises(FingerprintMismatchError):
        memory_of(store, fingerprint="model-b")
    blocks = segment_of(folder)
    intact = blocks.read_bytes()
    blocks.write_bytes(as_of_a_newer_version(intact))
    with pytest.raises(StoreError, match="newer vstream"):
        memory_of(store)
    blocks.write_bytes(intact)
    memory_of(store).close()


def test_the_note_is_kept_beside_the_blocks(store):
    with memory_of(store) as memory:
        assert memory.note == {"fps": 2.0}
        memory.set_note({"ended": True, "source": {"url": "a"}})
        memory.note["source"]["url"] = "changing a copy changes nothing"
        assert memory.note["source"] == {"url": "a"}
    with memory_of(store) as memory:
        assert memory.note == {"ended": True, "source": {"url": "a"}}


@pytest.mark.parametrize("note", [{"when": float("nan")}, {"what": object()}])
def test_a_note_that_is_not_json_is_refused_and_the_last_one_stays(store, note):
    for kept in (store, "memory://"):
        with memory_of(kept) as memory:
            memory.set_note({"fps": 4})
            with pytest.raises(StoreError, match="JSON"):
                memory.set_note(note)
            assert memory.note == {"fps": 4}


@pytest.mark.parametrize(
    "stream_id",
    ["", ".", "..", "../up", "a/b", "a\\b", "/abs", ".hidden", "a b", "ä", "a\n", "x" * 129],
)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_an_unsafe_stream_id_is_refused(stream_id, kind, tmp_path):
    store = "memory://" if kind == "memory" else f"file://{tmp_path}/store"
    with pytest.raises(StoreError, match=re.escape(f"stream id {stream_id!r}")):
        memory_of(store, stream_id=stream_id)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stream_id", ["a", "front-door_2.main", "A" * 128])
def test_a_plain_stream_id_is_taken(stream_id, tmp_path):
    memory_of(f"file://{tmp_path}", stream_id=stream_id).close()
    assert [path.name for path in tmp_path.iterdir()] == [stream_id]


@pytest.mark.parametrize(
    ("store", "told"),
    [
        (
            "ftp://localhost",
            "no tier is called 'ftp'; known: file, gs, memory, object, redis, rediss, s3, "
            "sentinel, unix",
        ),
        ("redis://127.0.0.1:1", r"cannot be reached .*is it running\?"),
        ("redis://127.0.0.1:x", "use redis://HOST:PORT/DB"),
        (
            "/var/lib/streams",
            "no tier is called .*; write memory://, file:///DIR, redis://HOST or s3://BUCKET",
        ),
        ("memory://there", "nothing stands behind memory://"),
        ("file://streams", "absolute path with three slashes"),
        ("file:streams", "absolute path with three slashes"),
        ("file:///dev/null", "cannot be used for a stream: Not a directory"),
        ("file:///proc/streams", "cannot be used for a stream"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_with_its_reason(store, told):
    with pytest.raises(StoreError, match=told):
        memory_of(store)


def test_a_path_with_escaped_characters_is_the_path_itself(tmp_path):
    memory_of(f"file://{tmp_path}/my%20streams").close()
    assert (tmp_path / "my streams" / "camera" / "stream.json").exists()
