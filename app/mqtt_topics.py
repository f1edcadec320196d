"""Topics: what a broker should hold about streams and alerts, in the form Home Assistant discovers.

All messages are retained. A stream is a device with a camera, a sensor and a switch. Each alert on
it adds a binary sensor and an image. One message announces a device with all its entities, so an
old one names the topics to clear. (https://www.home-assistant.io/integrations/mqtt)
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from app.server.documents import AlertDocument, FiringDocument, StreamDocument, rfc3339
from app.server.keys import Action
from vstream.errors import SettingsError
from vstream.service.alert_spec import ALL

ONLINE, OFFLINE, ON, OFF = "online", "offline", "ON", "OFF"
_NAME_CHARACTERS = 100


@dataclass(frozen=True)
class Picture:
    """The picture that the service serves at `path`. `at` distinguishes it from others there."""

    path: str
    at: float


Content = str | Picture


@dataclass(frozen=True)
class Names:
    """The prefixes of our topics and of those Home Assistant watches. Raises SettingsError."""

    prefix: str = "vstream"
    discovery: str = "homeassistant"

    def __post_init__(self) -> None:
        for name in (self.prefix, self.discovery):
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                raise SettingsError(f"topic prefix {name!r}: use only A-Z a-z 0-9 _ and -")

    @property
    def status(self) -> str:
        """The topic that says whether all others are up to date."""
        return f"{self.prefix}/status"

    @property
    def birth(self) -> str:
        """The topic on which Home Assistant reports that it has started."""
        return f"{self.discovery}/status"

    @property
    def devices(self) -> str:
        """A filter for the messages that announce devices."""
        return f"{self.discovery}/device/+/config"

    @property
    def commands(self) -> str:
        """A filter for the commands of all streams' switches."""
        return self.command("+")

    def is_device(self, topic: str) -> bool:
        return topic.startswith(f"{self.discovery}/device/")

    def device(self, stream_id: str) -> str:
        return f"{self.discovery}/device/{self.id_of(stream_id)}/config"

    def id_of(self, stream_id: str) -> str:
        """Return a stream's id at Home Assistant, which allows no dot in it."""
        return f"{self.prefix}_{stream_id.replace('.', '_2e')}"

    def of(self, stream_id: str, name: str) -> str:
        return f"{self.prefix}/{stream_id}/{name}"

    def command(self, stream_id: str) -> str:
        return self.of(stream_id, "paused/set")

    def commanded(self, topic: str) -> str:
        """Return the stream whose command topic this is."""
        return topic.removeprefix(f"{self.prefix}/").removesuffix("/paused/set")

    def announced_by(self, topic: str, text: str) -> set[str]:
        """Return the topics that an announcement of ours names; empty if it is not ours."""
        try:
            document = json.loads(text)
            if document["availability_topic"] != self.status:
                return set()
            topics = [
                value
                for component in document["components"].values()
                for name, value in component.items()
                if name.endswith("topic") and str(value).startswith(f"{self.prefix}/")
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            return set()
        return {topic, *topics}


def contents(
    names: Names,
    streams: Sequence[StreamDocument],
    alerts: Sequence[AlertDocument],
    shown_at: Mapping[str, float],
    on: Set[tuple[str, str]],
) -> dict[str, Content]:
    """Return what each topic should hold. `shown_at` has the time of each stream's picture, for
    streams with one; `on` has the alerts that are on, each with its stream.
    """
    table: dict[str, Content] = {}
    for stream in streams:
        own = [alert for alert in alerts if {ALL, stream.id} & set(alert.stream_ids)]
        table[names.device(stream.id)] = json.dumps(_device(names, stream, own))
        error = stream.error and stream.error.message
        state = {"state": stream.state, "error": error}
        table[names.of(stream.id, "state")] = json.dumps(state)
        table[names.of(stream.id, "paused")] = ON if stream.state == "paused" else OFF
        if stream.id in shown_at:
            path = f"/v1/streams/{stream.id}/frame.jpg"
            table[names.of(stream.id, "picture")] = Picture(path, shown_at[stream.id])
        for alert in own:
            table |= _alert(names, stream.id, alert, is_on=(alert.id, stream.id) in on)
    return {**table, names.status: ONLINE}


def newest_firings(
    streams: Sequence[StreamDocument], alerts: Sequence[AlertDocument]
) -> Iterator[tuple[tuple[str, str], FiringDocument]]:
    """Yield the newest firing of each alert on each stream, with the ids of both."""
    for alert in alerts:
        for stream in streams:
            if (firing := _newest(alert, stream.id)) is not None:
                yield (alert.id, stream.id), firing


def _newest(alert: AlertDocument, stream_id: str) -> FiringDocument | None:
    return next((one for one in alert.firings if one.stream_id == stream_id), None)


def _alert(
    names: Names, stream_id: str, alert: AlertDocument, *, is_on: bool
) -> dict[str, Content]:
    """Return an alert's topics. The state comes last: what reacts to it finds the rest there."""
    table: dict[str, Content] = {}
    firing = _newest(alert, stream_id)
    if firing is not None:
        picture = Picture(firing.frame_url, firing.id)
        table[names.of(stream_id, f"alerts/{alert.id}/picture")] = picture
    attributes = {
        "alert_id": alert.id,
        "condition": alert.condition,
        "at": firing and rfc3339(firing.at),
        "probability": firing and firing.probability,
        "sentence": firing and firing.sentence,
    }
    table[names.of(stream_id, f"alerts/{alert.id}/attributes")] = json.dumps(attributes)
    table[names.of(stream_id, f"alerts/{alert.id}/state")] = ON if is_on else OFF
    return table


def _device(
    names: Names, stream: StreamDocument, alerts: Sequence[AlertDocument]
) -> dict[str, Any]:
    """Return the message that announces a stream and its alerts to Home Assistant."""
    device, state = names.id_of(stream.id), names.of(stream.id, "state")
    components: dict[str, dict[str, Any]] = {
        "picture": {
            "platform": "camera",
            "name": "Picture",
            "topic": names.of(stream.id, "picture"),
        },
        "state": {
            "platform": "sensor",
            "name": "State",
            "state_topic": state,
            "value_template": "{{ value_json.state }}",
            "json_attributes_topic": state,
            "entity_category": "diagnostic",
        },
    }
    if Action.MANAGE in stream.can:
        components["paused"] = {
            "platform": "switch",
            "name": "Paused",
            "command_topic": names.command(stream.id),
            "state_topic": names.of(stream.id, "paused"),
            "icon": "mdi:pause",
        }
    for alert in alerts:
        name = alert.condition.removeprefix("tell me when ")[:_NAME_CHARACTERS]
        topic = names.of(stream.id, f"alerts/{alert.id}")
        components[alert.id] = {
            "platform": "binary_sensor",
            "name": name,
            "state_topic": f"{topic}/state",
            "json_attributes_topic": f"{topic}/attributes",
        }
        components[f"{alert.id}_picture"] = {
            "platform": "image",
            "name": f"{name} (picture)",
            "image_topic": f"{topic}/picture",
        }
    for name, component in components.items():
        component["unique_id"] = f"{device}_{name}"
    return {
        "device": {"identifiers": [device], "name": stream.id, "manufacturer": "vstream"},
        "origin": {"name": "vstream", "sw_version": version("vstream")},
        "availability_topic": names.status,
        "components": components,
    }
