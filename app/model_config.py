"""model_config: read a model's config.json; for a known model without asking a hub."""

import json
from pathlib import Path
from typing import Any

from vstream.errors import ModelError
from vstream.models.known_models import known_model
from vstream.models.weights import embedded_weights


def model_config(model: str | None) -> dict[str, Any]:
    """None is the embedded model. For a hub id, downloads only this file. Raises ModelError."""
    path = (Path(model).expanduser() if model else embedded_weights()) / "config.json"
    if model and not path.parent.is_dir():
        if (known := known_model(model)) is not None:
            return known.config
        from vstream.models.hub import hub_file

        path = hub_file(model, "config.json")
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {model}: its config.json cannot be read: {error}") from error
    return config
