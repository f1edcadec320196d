"""`vstream streams`, `verify` and `forget` on a store that `vstream ask` has filled."""

import json
import re
import shutil

import pytest
from command_line import vstream
from kv_blocks import as_of_a_newer_version
from processes import Process
from synthetic_video import write_video

from memory import MemoryConfig, open_stored


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("streams")
    video = write_video(folder / "clip.mp4", num_frames=80, fps=10)
    url = f"file://{folder}/store"
    run = vstream("ask", video, "what do you see now?", "--store", url, "--codec", "int4")
    assert run.code == 0, run.err
    return url


def listed(url):
    run = vstream("streams", "--store", url, "--json")
    assert run.code == 0, run.err
    return json.loads(run.out.splitlines()[-1])


def test_streams_lists_what_a_store_remembers_and_forget_deletes_of_it(store):
    (stream,) = listed(store)
    assert stream["state"] == "stored"
    assert (stream["blocks"], stream["from"], stream["to"]) == (8, 0.0, 7.0)
    assert stream["bytes"]["file"] > 0
    run = vstream("forget", stream["id"], "--from", "0:02", "--to", "4", "--store", store, "--yes")
    assert run.code == 0, run.err
    assert "3 blocks" in run.err
    (after,) = listed(store)
    assert (after["blocks"], after["from"], after["to"]) == (5, 0.0, 7.0)
    assert after["bytes"]["file"] < stream["bytes"]["file"]


def test_a_damaged_stream_is_named_beside_the_others(store, tmp_path):
    kept = store.removeprefix("file://")
    shutil.copytree(kept, tmp_path / "store")
    (sound,) = (tmp_path / "store").iterdir()
    damaged = sound.with_name("damaged")
    shutil.copytree(sound, damaged)
    segment = min((damaged / "segments").iterdir())
    whole = segment.read_bytes()
    segment.write_bytes(b"?" + whole[1:])
    url = f"file://{tmp_path}/store"
    by_id = {stream["id"]: stream for stream in listed(url)}
    num_blocks = by_id[sound.name]["blocks"]
    assert (by_id[sound.name]["error"], by_id[sound.name]["damaged"]) == (None, 0)
    assert (by_id["damaged"]["error"], by_id["damaged"]["damaged"]) == (None, 1)
    assert by_id["damaged"]["blocks"] == num_blocks - 1 > 0
    run = vstream("streams", "--store", url)
    assert "damaged: blocks are damaged or missing in 1 place;" in run.err
    segment.write_bytes(as_of_a_newer_version(whole))
    by_id = {stream["id"]: stream for stream in listed(url)}
    assert "newer vstream" in by_id["damaged"]["error"]
    assert by_id[sound.name]["blocks"] == num_blocks
    run = vstream("streams", "--store", url)
    assert run.code == 0
    assert sound.name in run.out
    assert "damaged cannot be read" in run.err


@pytest.fixture
def spoilt(store, tmp_path):
    """A sound stream beside one of which a block is damaged, and a line that nobody can read."""
    folder = tmp_path / "store"
    shutil.copytree(store.removeprefix("file://"), folder)
    (sound,) = folder.iterdir()
    shutil.copytree(sound, folder / "spoilt")
    segment = min((folder / "spoilt" / "segments").iterdir())
    segment.write_bytes(b"?" + segment.read_bytes()[1:])
    event = {"id": 1, "kind": "stream.created", "stream_id": None, "at": 0, "data": {}}
    (folder / ".events.jsonl").write_text(f'{json.dumps(event)}\n{{"id": 2,\n')
    return folder


def test_verify_reports_each_fault_and_repair_mends_it(spoilt):
    store = f"file://{spoilt}"
    segment = min((spoilt / "spoilt" / "segments").iterdir())
    run = vstream("verify", store)
    assert run.code == 1
    sound, spoilt_one, fault, line = run.out.splitlines()
    assert sound.endswith(" blocks, sound")
    assert re.fullmatch(r"spoilt: \d blocks, 1 lost, 1 fault", spoilt_one)
    assert fault.startswith(f"  {segment}: bytes 0 to ")
    assert fault.endswith(" (1 block lost)")
    assert line == f"{store}: events, line 2 cannot be read: '{{\"id\": 2,'"

    run = vstream("verify", store, "--json")
    assert run.code == 1
    assert not run.document["sound"]
    assert [len(one["faults"]) for one in run.document["streams"]] == [0, 1]
    assert run.document["lines"] == [line]

    run = vstream("verify", store, "--repair", "--json")
    assert run.code == 0, run.err
    assert run.document["sound"]
    before, after = run.document["streams"][1], run.document["streams"][1]["after_repair"]
    assert (after["blocks"], after["lost"], after["faults"]) == (before["blocks"], 0, [])
    assert (spoilt / "spoilt" / "damaged" / segment.name).exists()
    run = vstream("verify", store)
    assert run.code == 0, run.out
    assert f"sound; damaged files were moved to {spoilt / 'spoilt' / 'damaged'}" in run.out
    assert len((spoilt / ".events.jsonl").read_text().splitlines()) == 1


def test_what_a_process_writes_is_verified_and_not_repaired(spoilt):
    store = f"file://{spoilt}"
    with open_stored(MemoryConfig(store=store), "spoilt"):
        run = vstream("verify", store, "--repair")
    assert run.code == 1
    assert "being written" in run.out
    assert "spoilt was not repaired: " in run.err
    assert "after the repair" not in run.out
    assert "stop that first" in run.err


def test_verify_needs_no_torch(store):
    script = "import sys; from app.cli import main\n"
    script += "try: main()\nfinally: print('torch' in sys.modules)"
    run = Process(script, "verify", store, module="-c", warm=False)
    assert run.wait() == 0
    assert run.out[0].endswith(", sound\n")
    assert run.out[1:] == ["False\n"]


def test_an_empty_store_has_no_streams_and_a_mistyped_one_is_said_to_be_none(tmp_path):
    assert listed(f"file://{tmp_path}") == []
    store = ("--store", f"file://{tmp_path}/typo")
    looking = (
        ("streams",),
        ("search", "a cup"),
        ("find", "door", "a cup is there"),
        ("recap",),
        ("forget", "door", "--from", "0", "--to", "1", "--yes"),
        ("ask", "door", "what?"),
    )
    for command in looking:
        run = vstream(*command, *store)
        assert run.code == 1, command
        assert "there is no such folder" in run.err
    assert vstream("doctor", *store).code == 0
    assert list(tmp_path.iterdir()) == [], "and nobody has made it"


def test_nothing_is_deleted_unless_somebody_says_yes(store, monkeypatch):
    (before,) = listed(store)
    forget = ("forget", before["id"], "--from", "0", "--to", "0", "--store", store)
    run = vstream(*forget)
    assert run.code == 1
    assert "pass --yes" in run.err
    monkeypatch.setattr("app.stored_commands._is_asked", lambda: True)
    assert vstream(*forget, stdin="n\n").code == 1
    assert listed(store) == [before]
    asked = vstream(*forget, stdin="y\n")
    assert asked.code == 0, asked.err
    assert "Permanently delete" in asked.err
    (after,) = listed(store)
    assert after["blocks"] == before["blocks"] - 1


def test_what_cannot_be_forgotten_is_told_in_one_line(store):
    for arguments, told in (
        (("nobody", "--from", "0", "--to", "1"), "there is no such stream"),
        (("nobody", "--from", "9", "--to", "1"), "is before"),
    ):
        run = vstream("forget", *arguments, "--store", store, "--yes")
        assert run.code == 1
        assert told in run.err
        assert len(run.err.strip().splitlines()) == 1
