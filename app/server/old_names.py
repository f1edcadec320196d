"""Settings by the names that they had before 0.3: they work until then, and name the new one."""

import sys
from typing import Any


def with_new_names(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by section, as files and the environment have them, under the names of now."""
    found = dict(settings)
    if "watches" in found:
        _say("watches", "alerts")
        old = [{"told_as": "watch", **one} for one in found.pop("watches") or ()]
        found["alerts"] = [*found.get("alerts", ()), *old]
    service = found.get("service")
    if isinstance(service, dict) and "max_watches" in service:
        _say("service.max_watches", "service.max_alerts")
        of_old = {"max_alerts": service["max_watches"]}
        rest = {name: value for name, value in service.items() if name != "max_watches"}
        found["service"] = {**of_old, **rest}
    return found


def _say(old: str, new: str) -> None:
    sys.stderr.write(f"{old} is called {new} now, and by this name until 0.3\n")
