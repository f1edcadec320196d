"""Variables of the environment: a name in, whether it is a setting of the service out."""

from app.server.settings import ServiceSettings

KEYS = {"VSTREAM_API_KEY", "VSTREAM_API_KEY_FILE"}
"""What app/server/keys.py reads, and no tree of settings that is shown."""


def is_setting(variable: str) -> bool:
    sections = variable.removeprefix("VSTREAM_").lower().split("__")
    model = ServiceSettings
    for section in sections[:-1]:
        model = model.model_fields[section].annotation
    return variable.startswith("VSTREAM_") and sections[-1] in model.model_fields
