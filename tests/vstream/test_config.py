import pytest

from vstream import SettingsError, load_config


def test_the_environment_sets_and_the_command_line_wins(monkeypatch):
    monkeypatch.setenv("VSTREAM_ENGINE__CHUNK_FRAMES", "7")
    monkeypatch.setenv("VSTREAM_MEMORY__CODEC", "int4")
    config = load_config(memory={"codec": "bf16"})
    assert config.engine.chunk_frames == 7
    assert config.memory.codec == "bf16"


@pytest.mark.parametrize(
    "variable",
    [
        "VSTREAM_API_KEY",
        "VSTREAM_API_KEY_FILE",
        "VSTREAM_MQTT_PASSWORD",
        "VSTREAM_ONVIF_PASSWORD_FILE",
    ],
)
def test_a_secret_is_no_setting(variable, monkeypatch):
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


def test_a_policy_and_its_settings_are_chosen_by_name(monkeypatch):
    monkeypatch.setenv("VSTREAM_POLICY", "uniform")
    monkeypatch.setenv("VSTREAM_POLICY_SET__RETRIEVE_BLOCKS", "7")
    config = load_config()
    assert config.policy == "uniform"
    assert config.policy_set == {"retrieve_blocks": "7"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"policy": "windows"}, "policy: .*no memory policy is called 'windows'; known: .*window"),
        ({"policy": "window", "policy_set": {"retrieve_blocks": 1}}, "its settings: frames"),
        ({"policy_set": {"retrieve_blocks": -1}}, "policy_set: .*default: retrieve_blocks"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_with_what_there_is(given, why):
    with pytest.raises(SettingsError, match=why):
        load_config(**given)


def test_settings_that_were_the_engine_s_work_and_say_their_new_name(monkeypatch, capsys):
    monkeypatch.setenv("VSTREAM_ENGINE__RETRIEVE_BLOCKS", "7")
    monkeypatch.setenv("VSTREAM_ENGINE__CHUNK_FRAMES", "4")
    config = load_config(engine={"recent_frames": 2})
    assert config.policy_set == {"retrieve_blocks": "7", "recent_frames": 2}
    assert config.engine.chunk_frames == 4
    assert "VSTREAM_POLICY_SET__RETRIEVE_BLOCKS" in capsys.readouterr().err


def test_the_old_name_of_rekv_s_window_chooses_the_policy(monkeypatch, capsys):
    monkeypatch.setenv("VSTREAM_ENGINE__REKV_WINDOW_TOKENS", "900")
    config = load_config()
    assert (config.policy, config.policy_set) == ("rekv", {"window_tokens": "900"})
    assert "policy_set.window_tokens" in capsys.readouterr().err
