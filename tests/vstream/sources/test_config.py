"""SourceConfig: strict, frozen, bounded and described."""

import pytest
from pydantic import ValidationError

from vstream.sources import SourceConfig


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="extra"):
        SourceConfig.model_validate({"transprot": "udp"})


@pytest.mark.parametrize(
    "wrong", [{"read_timeout_s": 0}, {"max_side": 1}, {"transport": "smoke"}, {"queue_frames": 0}]
)
def test_a_value_out_of_bounds_is_refused(wrong):
    with pytest.raises(ValidationError):
        SourceConfig.model_validate(wrong)


def test_every_setting_is_described_in_one_sentence():
    for name, setting in SourceConfig.model_fields.items():
        assert setting.description, name
        assert setting.description.endswith("."), name


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        SourceConfig().max_side = 100
