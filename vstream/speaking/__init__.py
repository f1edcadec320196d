"""Speaking policies, one per file: when an alert fires."""

from encoders import Recommended
from memory.registry import Registry
from vstream.speaking.policy import RuleSettings, SpeakingPolicy

SPEAKING = Registry(SpeakingPolicy, "vstream.speaking", "speaking policy")


def speaking_policy(
    name: str | None,
    model: Recommended,
    threshold: float | None = None,
    confirmations: int | None = None,
    cooldown_s: float | None = None,
) -> SpeakingPolicy:
    """Return the policy of that name with the settings given, else as the model recommends. None is
    `k_of_n`, or `silence` for a model that was trained to be silent, unless a threshold is given.
    Raises UnknownNameError, SettingsError.
    """
    if name is None:
        name = "silence" if model.silence_words and threshold is None else "k_of_n"
    return SPEAKING.find(name).wished(model, RuleSettings(threshold, confirmations, cooldown_s))
