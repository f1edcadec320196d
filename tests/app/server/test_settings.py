import pytest

from app.server.settings import load_settings
from vstream.errors import SettingsError


def _file(tmp_path, text):
    path = tmp_path / "vstream.yaml"
    path.write_text(text)
    return path


def test_flags_win_over_the_environment_and_the_environment_over_the_file(tmp_path, monkeypatch):
    path = _file(
        tmp_path,
        """
        service: {host: 10.0.0.1, port: 1000, max_streams: 3}
        memory: {store: "${STORE}", codec: int4}
        streams: [{id: door, source: {url: "rtsp://door/"}}]
        """,
    )
    monkeypatch.setenv("STORE", "file:///blocks")
    monkeypatch.setenv("VSTREAM_SERVICE__PORT", "2000")
    monkeypatch.setenv("VSTREAM_SERVICE__MAX_STREAMS", "4")
    monkeypatch.setenv("VSTREAM_MEMORY__CODEC", "bf16")
    settings = load_settings(path, service={"max_streams": 5})
    service = settings.service
    assert (service.host, service.port, service.max_streams) == ("10.0.0.1", 2000, 5)
    assert (settings.memory.store, settings.memory.codec) == ("file:///blocks", "bf16")
    assert [spec.id for spec in settings.streams] == ["door"]
    assert load_settings(None).service.host == "127.0.0.1"


def _alert(actions="[]"):
    return f"{{id: cat, stream_ids: [door], condition: a cat, actions: {actions}}}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("service: {prot: 1}", "service.prot"),
        ("storre: x", "storre"),
        ("memory: {store: '${NOT_SET}'}", "NOT_SET"),
        ("- a", "expected settings by name"),
        ("a: [", "not valid YAML"),
        (f"alerts: [{_alert()}, {_alert()}]", "id used twice: cat"),
        (f"alerts: [{_alert(actions='[{url: https://example.org/}]')}]", "a secret"),
        ("service: {public_url: cameras.example.org}", "https://cameras.example.org"),
        ("service: {public_url: 'https://user:secret@example.org'}", "https://cameras.example.org"),
        ("service: {public_url: 'https://example.org/?a=b'}", "leave out"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, told):
    with pytest.raises(SettingsError, match=told):
        load_settings(_file(tmp_path, text))
