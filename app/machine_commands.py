"""The commands about this machine and its settings. What one needs, it imports when it runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.command_parts import AsJson, AsJsonList, examples, terminal
from app.settings_options import (
    MEMORY,
    MODEL,
    SERVICE,
    SOURCE,
    STORE,
    Given,
    with_given,
    with_settings,
)

if TYPE_CHECKING:
    from vstream.config import VStreamConfig

machine = typer.Typer()
_PANEL = "This machine"


@machine.command(
    rich_help_panel=_PANEL,
    epilog=examples("doctor", "doctor --model llava-hf/llava-onevision-qwen2-7b-ov-hf"),
)
@with_settings(MODEL, STORE)
def doctor(config: "VStreamConfig") -> None:
    """Check this machine: GPU, FFmpeg, model, memory, threads."""
    from app.doctor import examine

    raise typer.Exit(0 if examine(terminal(), config) else 1)


@machine.command(
    rich_help_panel=_PANEL,
    epilog=examples("config", "config --config streams.yaml --store redis://host", "config --json"),
)
@with_given(SOURCE, MODEL, MEMORY, SERVICE)
def config(
    config: Given,
    as_json: AsJson = False,
) -> None:
    """Show the settings in effect and where each comes from."""
    from app.settings_in_effect import show_settings

    show_settings(terminal(), config, as_json=as_json)


@machine.command(
    rich_help_panel=_PANEL,
    epilog=examples("policies", "policies --model Qwen/Qwen3-VL-2B-Instruct --json"),
)
def policies(
    model: Annotated[
        str | None,
        typer.Option(help="Whose bytes are told, a hub id or directory; else the embedded."),
    ] = None,
    as_json: AsJsonList = False,
) -> None:
    """List the memory policies, what each keeps, and its bytes an hour."""
    from app.policies import list_policies

    list_policies(terminal(), model, as_json=as_json)


@machine.command(rich_help_panel=_PANEL, epilog=examples("key"))
def key() -> None:
    """Make a key for the service, and its hash for the configuration."""
    from app.server.keys import new_key

    made, hashed = new_key()
    terminal().document(f"key:  {made}\nhash: {hashed}")
