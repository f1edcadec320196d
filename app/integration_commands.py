"""The commands about other programs and cameras. Each imports what it needs when it runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from app.command_parts import AsJsonList, examples, terminal
from vstream.errors import SettingsError

integrations = typer.Typer()
_PANEL = "Service and page"


@contextmanager
def _package_needed(what: str, extra: str) -> Iterator[None]:
    """Raise SettingsError if an import needs a package that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"{what} needs the package {error.name}: pip install 'vstream[{extra}]'"
        ) from None


@integrations.command(
    rich_help_panel=_PANEL,
    epilog=examples("mcp", "mcp --allow-changes", "mcp --http --service http://host:8900"),
)
def mcp(
    service: Annotated[
        str, typer.Option(help="Address of a service; VSTREAM_API_KEY: its key.")
    ] = "http://127.0.0.1:8900",
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Also offer alerts, pause and forget.")
    ] = False,
    http: Annotated[
        bool, typer.Option("--http", help="Serve HTTP at /mcp; each caller brings its own key.")
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen on, with --http.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port, with --http.")] = 8902,
) -> None:
    """Offer a service's streams to an assistant as MCP tools, over stdin and stdout."""
    with _package_needed("MCP", "mcp"):
        from app.mcp_server import serve_mcp, serve_mcp_over_http
    from app.server.keys import master_key

    if http:
        serve_mcp_over_http(service, host, port, allow_changes=allow_changes)
    else:
        serve_mcp(service, master_key(os.environ), allow_changes=allow_changes)


@integrations.command(
    rich_help_panel=_PANEL,
    epilog=examples("mqtt", "mqtt --broker mqtts://vstream@broker --service http://host:8900"),
)
def mqtt(
    broker: Annotated[
        str,
        typer.Option(
            help="mqtt://USER@HOST:PORT, or mqtts:// for TLS; VSTREAM_MQTT_PASSWORD: the password."
        ),
    ] = "mqtt://127.0.0.1:1883",
    service: Annotated[
        str, typer.Option(help="Address of a service; VSTREAM_API_KEY: its key.")
    ] = "http://127.0.0.1:8900",
    prefix: Annotated[str, typer.Option(help="What all topics begin with.")] = "vstream",
    discovery: Annotated[
        str, typer.Option(help="Prefix under which Home Assistant looks for devices.")
    ] = "homeassistant",
    picture_s: Annotated[
        float, typer.Option(min=0.2, help="Least seconds between two pictures of a stream.")
    ] = 10.0,
) -> None:
    """Publish a service's streams and alerts at an MQTT broker, for Home Assistant to find."""
    with _package_needed("MQTT", "mqtt"):
        from app.mqtt_bridge import Broker, serve_mqtt
    from app.mqtt_topics import Names
    from app.server.keys import master_key, secret_in

    password = secret_in(os.environ, "VSTREAM_MQTT_PASSWORD")
    names = Names(prefix, discovery)
    serve_mqtt(service, master_key(os.environ), Broker.parse(broker, password), names, picture_s)


@integrations.command(
    rich_help_panel="Ask",
    epilog=examples(
        "discover", "discover --user admin", "discover 192.168.1.20 --user admin --json"
    ),
)
def discover(
    host: Annotated[
        str | None,
        typer.Argument(help="Ask HOST[:PORT] alone; else every network of this machine."),
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            help="Also list the streams, as this user; VSTREAM_ONVIF_PASSWORD: the password."
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=0.1, help="Wait this many seconds for answers.")] = 5.0,
    as_json: AsJsonList = False,
) -> None:
    """Find ONVIF cameras, and the addresses to give `ingest`."""
    with _package_needed("ONVIF", "onvif"):
        from onveef import OnvifCredentials

        from app.discover import show_cameras
    from app.server.keys import secret_in

    password = secret_in(os.environ, "VSTREAM_ONVIF_PASSWORD") or ""
    login = None if user is None else OnvifCredentials(user, password)
    show_cameras(terminal(), host, wait, login, as_json=as_json)
