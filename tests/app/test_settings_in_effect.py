"""`vstream config` shows what is in effect, where it comes from, and no secret."""

import pytest
from command_line import vstream

CAMERA = """
memory: {codec: bf16, retain_s: 24h}
service: {port: 9000}
streams:
  - {id: door, source: {url: "rtsp://user:hush@camera/1"}}
"""


@pytest.fixture
def shown(tmp_path, monkeypatch):
    path = tmp_path / "streams.yaml"
    path.write_text(CAMERA)
    monkeypatch.setenv("VSTREAM_MEMORY__STORE", "redis://user:hush@host")
    monkeypatch.setenv("VSTREAM_MEMORY__RETAIN_S", "48h")
    monkeypatch.setenv("VSTREAM_API_KEY", "hush-hush-hush-hush")
    options = ("--config", path, "--codec", "int4", "--policy-set", "retrieve_blocks=9")
    return path, vstream("config", *options, "--json"), vstream("config", *options)


def test_each_setting_says_where_it_comes_from(shown):
    path, run, _ = shown
    assert run.code == 0, run.err
    told = {name: (one["value"], one["from"]) for name, one in run.document.items()}
    assert told["memory.codec"] == ("int4", "command line")
    assert told["policy_set"] == ({"retrieve_blocks": "9"}, "command line")
    assert told["memory.retain_s"] == (48 * 3600, "VSTREAM_MEMORY__RETAIN_S")
    assert told["service.port"] == (9000, str(path))
    assert told["streams"] == (["door"], str(path))
    assert told["memory.file_bytes"] == (None, "default")


def test_no_secret_is_shown(shown):
    _, document, table = shown
    for run in (document, table):
        assert "hush" not in run.out + run.err
        assert "redis://***@host" in run.out
        assert "VSTREAM_API_KEY" in run.out


def test_what_a_service_would_not_take_is_refused():
    run = vstream("config", "--codec", "mp3", "--retain", "soon")
    assert run.code == 1
    assert "memory.retain_s" in run.err
