"""`vstream ask` end to end: real video files, every family from a checkpoint in its own layout."""

import os
import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from command_line import vstream
from processes import Process
from synthetic_video import write_video
from tiny_checkpoints import save_tiny_checkpoint
from tiny_models import TEXT_MODELS, VIDEO_FAMILIES, family_case, tiny_model

from vstream import stream_id_of

AN_HOUR_AGO = time.time() - 3600


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("video") / "clip.mp4", num_frames=80, fps=10)
    os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))  # of a new one no moment may lie in the time to come
    return path


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_every_family_answers_from_its_published_layout(family, video, tmp_path):
    save_tiny_checkpoint(family, tmp_path)
    run = vstream("ask", video, "what is shown?", "--model", tmp_path, "--fps", "1", "--json")
    assert run.code == 0, run.err
    document = run.document
    assert isinstance(document["answer"], str)
    assert document["newest_frame_s"] == 7.0
    assert document["asked_at_s"] == 7.0
    assert document["frames"] == {"seen": 80, "encoded": 8, "dropped": 0}
    step = family_case(family).frames_per_block
    starts = {entry["start_s"] for entry in document["evidence"]}
    assert starts == {float(s) for s in range(0, 8, step)}
    scores = [entry["score"] for entry in document["evidence"]]
    assert scores == sorted(scores, reverse=True)
    assert 0 < document["first_token_s"] <= document["took_s"]
    assert document["model"] == str(tmp_path)
    assert document["stream"] == stream_id_of(str(video))


def test_the_embedded_model_is_the_default_and_at_limits_what_is_seen(video):
    run = vstream("ask", video, "what do you see now?", "--at", "0:03", "--json")
    assert run.code == 0, run.err
    assert run.document["newest_frame_s"] == 3.0
    assert run.document["asked_at_s"] == 3.0
    assert all(entry["end_s"] <= 3.0 for entry in run.document["evidence"])


def test_the_document_has_the_fields_of_an_answer(video):
    """Users' scripts read these."""
    document = vstream("ask", video, "what do you see now?", "--json").document
    assert list(document) == [
        "model",
        "stream",
        "answer",
        "unsure",
        "unsure_because",
        "newest_frame_s",
        "coarser_since",
        "strange",
        "knows",
        "asked_at_s",
        "confidence",
        "truncated",
        "looked",
        "plan",
        "token_ids",
        "context_tokens",
        "evidence",
        "spans",
        "first_token_s",
        "took_s",
        "retrieve_s",
        "frames",
    ]
    assert document["knows"] == "drawings only"
    fields = ["block_id", "start_s", "end_s", "captured_at", "score", "num_layers"]
    assert all(list(one) == fields for one in document["evidence"])
    assert [*document["spans"][0]] == ["from_s", "to_s", "from_at", "to_at", "share"]
    rounded = document["confidence"], *(one["share"] for one in document["spans"])
    assert all(round(one, 4) == one for one in rounded)


def test_a_time_beyond_the_end_is_refused(video, tmp_path):
    store = ("--store", f"file://{tmp_path}")
    run = vstream("ask", video, "what is there?", "--at", "5:00", *store)
    assert run.code == 1
    assert "nothing at 5:00" in run.err
    assert "ends at 0:08" in run.err
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
    assert vstream("ask", video, "what is there?", "--at", "7.9", *store).code == 0
    name = stream_id_of(str(video))
    stored = vstream("ask", name, "what is there?", "--at", "5:00", *store)
    assert stored.code == 1
    assert "nothing is kept of 5:00: the stream's newest block is at 0:07" in stored.err


def test_a_refused_address_is_told_before_torch_is_imported():
    script = "import sys; from app.cli import main\n"
    script += "try: main()\nfinally: print('torch' in sys.modules)"
    run = Process(script, "ask", "rtsp://127.0.0.1:1/none", "what?", module="-c", warm=False)
    assert run.wait() == 1
    assert run.out == ["False\n"]
    [line] = run.err
    assert "Connection refused" in line


def test_a_camera_that_is_tried_again_is_told_of_before_the_model_is_loaded():
    run = vstream("ask", "rtsp://127.0.0.1:1/none", "--connect-timeout", "1")
    refused, loaded = (run.err.index(words) for words in ("retrying", "model embedded"))
    assert refused < loaded


def test_words_name_what_a_clock_showed_in_a_zone(tmp_path):
    video = write_video(tmp_path / "clip.mp4", num_frames=80, fps=10)
    begun = datetime(2024, 5, 6, 14, 7, tzinfo=ZoneInfo("Europe/Prague")).timestamp()
    os.utime(video, (begun, begun))  # a file without a creation_time is of its modification time
    asked = ("ask", video, "what was there on 2024-05-06 between 14:07:02 and 2:07:05 pm?")
    store = ("--store", f"file://{tmp_path}/store")
    run = vstream(*asked, "--zone", "Europe/Prague", "--json", *store)
    assert run.code == 0, run.err
    assert run.document["looked"] == {
        "from_s": 2.0,
        "to_s": 5.0,
        "begin_at": begun + 2,
        "end_at": begun + 5,
    }
    assert {entry["start_s"] for entry in run.document["evidence"]} == {2.0, 3.0, 4.0, 5.0}
    said = vstream(*asked, "--zone", "Europe/Prague", *store)
    assert "looked at 0:02 to 0:05, for 2024-05-06 14:07:02 to 14:07:05 (Europe/Prague)" in said.err
    for zone, told in (("America/New_York", "nothing is kept"), ("nowhere", "no time zone")):
        run = vstream(*asked, "--zone", zone, *store)
        assert run.code == 1
        assert told in run.err


def test_a_file_store_is_encoded_once(video, tmp_path):
    options = ("--store", f"file://{tmp_path}", "--json")
    first = vstream("ask", video, "what do you see now?", *options).document
    again = vstream("ask", video, "what do you see now?", *options).document
    assert first["frames"]["encoded"] == 8
    assert again["frames"]["encoded"] == 0
    assert again["answer"] == first["answer"]
    assert again["evidence"] == first["evidence"]
    untold = vstream("ask", stream_id_of(str(video)), *options)
    assert (untold.code, "add a question" in untold.err) == (1, True), "it does not play"


def test_a_store_that_holds_a_part_is_carried_on(video, tmp_path):
    options = ("--store", f"file://{tmp_path}", "--json")
    assert vstream("ask", video, "what?", "--at", "3", *options).document["frames"]["encoded"] == 4
    rest = vstream("ask", video, "what do you see now?", *options).document
    assert rest["frames"]["encoded"] == 4
    assert rest["newest_frame_s"] == 7.0


def test_asking_again_about_the_same_moment_adds_nothing(tmp_path):
    still = write_video(tmp_path / "still.mp4", num_frames=1, fps=1)
    moving = write_video(tmp_path / "moving.mp4", num_frames=80, fps=10)
    for source in (still, moving):
        options = ("--store", f"file://{tmp_path / source.stem}", "--json")
        one, two, three = (
            vstream("ask", source, "what is it?", "--at", at, *options).document
            for at in ("1", "1", "1")
        )
        assert one["frames"]["encoded"] > 0
        assert two["frames"]["encoded"] == three["frames"]["encoded"] == 0
        assert two["evidence"] == three["evidence"] == one["evidence"]


def test_stopping_on_the_way_changes_nothing(video, tmp_path):
    options = ("--store", f"file://{tmp_path}", "--codec", "exact", "--json")
    for at in ("2", "3", "5"):
        vstream("ask", video, "what?", "--at", at, *options)
    pieces = vstream("ask", video, "what do you see now?", *options).document
    whole = vstream("ask", video, "what do you see now?", "--codec", "exact", "--json").document
    assert pieces["answer"] == whole["answer"]
    assert [e["start_s"] for e in pieces["evidence"]] == [e["start_s"] for e in whole["evidence"]]


def test_without_json_the_answer_is_on_stdout_and_the_evidence_beside_it(video):
    run = vstream("ask", video, "what do you see now?")
    assert run.code == 0
    assert run.out.strip()
    assert "moment" in run.err
    assert "first token" in run.err


BAD_INPUT = {
    "missing file": (["ask", "nowhere.mp4", "what?"], ["nowhere.mp4", "no such file"]),
    "empty question": (["ask", "{video}", "  "], ["question is empty"]),
    "too long a question": (["ask", "{video}", "why? " * 17000], ["too long"]),
    "a time before the start": (["ask", "{video}", "what?", "--at", "-1"], ["-1", "time"]),
    "not a time": (["ask", "{video}", "what?", "--at", "noon"], ["noon", "m:ss"]),
    "unknown model": (["ask", "{video}", "what?", "--model", "no/such"], ["no/such", "directory"]),
    "unknown scheme": (["ask", "gopher://x", "what?"], ["gopher"]),
    "unknown store": (["ask", "{video}", "what?", "--store", "ftp://x"], ["ftp://x", "file:///"]),
    "unknown codec": (["ask", "{video}", "what?", "--codec", "mp3"], ["mp3", "known: bf16, exact"]),
    "unreachable host": (
        ["ask", "rtsp://127.0.0.1:9/x", "what?", "--connect-timeout", "2"],
        ["rtsp://127.0.0.1:9/x"],
    ),
    "broken address": (["ask", "http://[::1/x", "what?"], ["http://[::1/x", "address"]),
    "no source": (["ask", "", "what?"], ["no source"]),
    "seconds past 59": (["ask", "{video}", "what?", "--at", "1:99"], ["1:99", "m:ss"]),
    "device without numbers": (["ask", "{video}", "what?", "--device", "meta"], ["meta"]),
    "unknown device": (["ask", "{video}", "what?", "--device", "tpu9"], ["tpu9"]),
    "unknown dtype": (["ask", "{video}", "what?", "--dtype", "int3"], ["int3", "float32"]),
    "at a live source": (["ask", "rtsp://127.0.0.1:9/x", "what?", "--at", "3"], ["--at"]),
}


@pytest.mark.parametrize(("arguments", "said"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_gets_a_clear_error(arguments, said, video):
    run = vstream(*(argument.format(video=video) for argument in arguments))
    assert run.code != 0
    assert "Traceback" not in run.err + run.out
    message = " ".join(run.err.split())
    for words in said:
        assert words in message


@pytest.mark.parametrize("make", ["text", "empty", "directory"])
def test_what_is_not_a_video_is_said_to_be_none(make, tmp_path):
    path = tmp_path / "clip.mp4"
    if make == "directory":
        path.mkdir()
    else:
        path.write_text("not a video at all\n" * 50 if make == "text" else "")
    run = vstream("ask", path, "what?")
    assert run.code == 1
    assert "clip.mp4" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("part", ["tokenizer.json", "model.safetensors", "chat_template.jinja"])
def test_a_damaged_checkpoint_is_refused_by_name(part, video, tmp_path):
    save_tiny_checkpoint("llava_onevision", tmp_path)
    found = tmp_path / part
    if not found.exists():
        pytest.fail(f"the tiny checkpoint has no {part}")
    if part == "model.safetensors":
        found.write_bytes(found.read_bytes()[:1000])
    else:
        found.unlink()
    run = vstream("ask", video, "what?", "--model", tmp_path)
    assert run.code == 1
    assert str(tmp_path) in "".join(run.err.split())
    assert "Traceback" not in run.err


def test_what_the_user_types_is_shown_as_typed(video):
    run = vstream("ask", video, "is [bold] :dog: there?")
    assert run.code == 0
    run = vstream("ask", f"{video.parent}/[bold]:dog:.mp4", "is it there?")
    assert "[bold]:dog:.mp4" in run.err


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_text_model_is_refused_by_name(name, video, tmp_path):
    tiny_model(name).save_pretrained(tmp_path)
    run = vstream("ask", video, "what?", "--model", tmp_path)
    assert run.code == 1
    assert "Traceback" not in run.err
    assert name in run.err


def test_blocks_of_another_model_are_refused_by_name(video, tmp_path):
    checkpoint = tmp_path / "model"
    save_tiny_checkpoint("smolvlm", checkpoint)
    store = f"file://{tmp_path / 'store'}"
    assert vstream("ask", video, "what?", "--store", store).code == 0
    run = vstream("ask", video, "what?", "--store", store, "--model", checkpoint)
    assert run.code == 1
    assert "embedded-" in run.err, "the model that made the blocks"
    assert "smolvlm-" in run.err, "the model that was asked for"
    assert "Traceback" not in run.err


def test_a_truncated_memory_file_is_recovered_and_a_damaged_one_read_without_what_is_lost(
    video, tmp_path
):
    options = ("--store", f"file://{tmp_path}", "--json")
    assert vstream("ask", video, "what do you see?", *options).code == 0
    (blocks,) = tmp_path.rglob("*.vskv")
    whole = blocks.read_bytes()
    blocks.write_bytes(whole[:-100])
    run = vstream("ask", video, "what do you see?", *options)
    assert run.code == 0, run.err
    assert run.document["newest_frame_s"] == 7.0
    assert run.document["frames"]["encoded"] == 1
    whole = blocks.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 3 : len(whole) // 3 + 2000] = b"\x00" * 2000
    blocks.write_bytes(bytes(damaged))
    run = vstream("ask", video, "what do you see?", *options)
    assert run.code == 0, run.err
    assert run.document["newest_frame_s"] == 7.0
    assert len(run.document["evidence"]) in (6, 7)
    assert "is damaged" in run.err
    assert "vskv" in run.err
    assert "Traceback" not in run.err


def test_the_console_script_exits_with_one_line_for_an_error():
    script = "from app.cli import main; main()"
    run = Process(script, "ask", "nowhere.mp4", "what?", module="-c")
    assert run.wait() == 1
    assert run.out == []
    assert run.err[0].startswith("error: nowhere.mp4")
    assert len(run.err) == 1


def test_doctor_reports_what_this_machine_has():
    run = vstream("doctor")
    assert run.code == 0, run.out
    assert "store memory://" in run.out
    said = [line.split()[0] for line in run.out.splitlines()]
    assert said[:6] == ["python", "cpu", "memory", "ffmpeg", "torch", "gpu"], "the quick ones first"
    assert "decoder passes the exactness check, with " in run.out


@pytest.mark.parametrize("question", [["what do you see?"], []])
def test_a_model_that_knows_drawings_only_says_so(video, question):
    run = vstream("ask", video, *question, stdin="hm?")
    assert run.code == 0, run.err
    assert "drawings only" in run.err


def test_a_document_says_what_its_model_knows(video, tmp_path):
    asked = ("ask", video, "what do you see?", "--json")
    assert vstream(*asked).document["knows"] == "drawings only"
    save_tiny_checkpoint("llava_onevision", tmp_path)
    another = vstream(*asked, "--model", tmp_path)
    assert another.document["knows"] is None
    assert "drawings" not in another.err


def test_doctor_says_whether_the_model_knows_real_scenes(tmp_path):
    assert "real scenes: no (embedded model)" in vstream("doctor").out
    save_tiny_checkpoint("llava_onevision", tmp_path)
    assert "real scenes" not in vstream("doctor", "--model", tmp_path).out


def test_doctor_leaves_no_trace_in_the_store(tmp_path):
    run = vstream("doctor", "--store", f"file://{tmp_path}")
    assert run.code == 0, run.out
    assert "can be written" in run.out
    assert list(tmp_path.iterdir()) == []


def test_another_dtype_does_not_go_on_in_the_same_store(video, tmp_path):
    options = ("--store", f"file://{tmp_path}")
    assert vstream("ask", video, "what?", "--at", "3", *options).code == 0
    run = vstream("ask", video, "what?", "--dtype", "bfloat16", *options)
    assert run.code == 1
    assert "bfloat16" in run.err


def test_an_error_is_one_line_also_when_it_is_not_read_on_a_terminal(tmp_path):
    run = vstream("ask", tmp_path / ("long" * 40 + ".mp4"), "what?")
    assert run.code == 1
    assert len(run.err.strip().splitlines()) == 1


def test_doctor_says_which_server_the_store_is_and_leaves_no_trace(redis_server, valkey_server):
    for server, kind in ((redis_server, "Redis "), (valkey_server, "Valkey ")):
        run = vstream("doctor", "--store", server.url)
        assert run.code == 0, run.err
        assert kind in run.out
        assert "appendonly yes" in run.out
        with server.client() as client:
            assert client.dbsize() == 0


def test_doctor_fails_on_a_server_that_evicts(redis_server):
    with redis_server.client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        run = vstream("doctor", "--store", redis_server.url)
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")
    assert run.code == 1
    assert "set it to noeviction" in run.out
