import pytest

from vstream import SettingsError, load_config


def test_the_environment_sets_and_the_command_line_wins(monkeypatch):
    monkeypatch.setenv("VSTREAM_ENGINE__RETRIEVE_BLOCKS", "7")
    monkeypatch.setenv("VSTREAM_MEMORY__CODEC", "int4")
    config = load_config(memory={"codec": "bf16"})
    assert config.engine.retrieve_blocks == 7
    assert config.memory.codec == "bf16"


@pytest.mark.parametrize("variable", ["VSTREAM_API_KEY", "VSTREAM_API_KEY_FILE"])
def test_the_service_s_secret_is_no_setting(variable, monkeypatch):
    monkeypatch.setenv(variable, "correct-horse-battery")
    assert "horse" not in repr(load_config())


def test_an_empty_variable_is_no_setting(monkeypatch):
    monkeypatch.setenv("VSTREAM_MODEL", "")
    assert load_config().model is None


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("VSTREAM_STORE", "VSTREAM_MEMORY__STORE"),
        ("VSTREAM_MODLE", "VSTREAM_MODEL"),
        ("VSTREAM_MEMORY__STOER", "memory.stoer"),
    ],
)
def test_a_misspelt_variable_is_refused(variable, hint, monkeypatch):
    monkeypatch.setenv(variable, "file:///data")
    with pytest.raises(SettingsError, match=hint):
        load_config()


def test_a_bad_value_is_named_with_what_is_allowed():
    with pytest.raises(SettingsError, match=r"source\.sample_fps.*greater than 0.*-1"):
        load_config(source={"sample_fps": -1})
