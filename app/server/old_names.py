"""Old names of settings from before 0.3: they work until then, with a warning."""

import sys
from typing import Any


def with_new_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Rename old settings in a tree of sections, as read from a file or the environment."""
    found = dict(settings)
    if "watches" in found:
        _say("watches", "alerts")
        old, new = found.pop("watches") or [], found.get("alerts") or []
        if not isinstance(old, list):
            new = old  # not a list: validation will refuse it
        elif isinstance(new, list):
            new = [*new, *map(_told_as_watch, old)]
        found["alerts"] = new
    service = found.get("service")
    if isinstance(service, dict) and "max_watches" in service:
        _say("service.max_watches", "service.max_alerts")
        of_old = {"max_alerts": service["max_watches"]}
        rest = {name: value for name, value in service.items() if name != "max_watches"}
        found["service"] = {**of_old, **rest}
    return found


def _told_as_watch(one: Any) -> Any:
    return {"told_as": "watch", **one} if isinstance(one, dict) else one


def _say(old: str, new: str) -> None:
    sys.stderr.write(f"{old} is now called {new}; the old name works until 0.3\n")
