"""The commands about this machine and its settings. Each imports what it needs when it runs."""

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
    """Check this machine: GPU, FFmpeg, model, memory and threads."""
    from app.doctor import examine

    raise typer.Exit(0 if examine(terminal(), config) else 1)


@machine.command(
    rich_help_panel=_PANEL,
    epilog=examples("config", "config --config streams.yaml --store redis://host", "config --json"),
)
@with_given(SOURCE, MODEL, MEMORY, SERVICE)
def config(config: Given, as_json: AsJson = False) -> None:
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
        typer.Option(help="Model to size them for: a hub id or directory; else the embedded one."),
    ] = None,
    as_json: AsJsonList = False,
) -> None:
    """List the memory policies, what they keep and their bytes per hour."""
    from app.policies import list_policies

    list_policies(terminal(), model, as_json=as_json)


@machine.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "plan --cameras 4 --days 7",
        "plan --cameras 4 --model Qwen/Qwen2.5-VL-7B-Instruct --days 7 --policy moments",
        "plan --model llava-hf/llava-onevision-qwen2-0.5b-ov-hf --codec int4 --device cpu --json",
    ),
)
@with_settings(MODEL, MEMORY)
def plan(
    config: "VStreamConfig",
    cameras: Annotated[int, typer.Option(min=1, max=1000, help="How many cameras.")] = 1,
    days: Annotated[float, typer.Option(min=0.01, max=3650, help="How long to remember.")] = 7.0,
    fps: Annotated[
        float | None,
        typer.Option(min=0.01, help="Frames per second of each; else what the model recommends."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate the memory and disk that cameras need, and print the command to run."""
    told = terminal()
    with told.loading("starting"):
        from app.plan import Cameras
        from app.plan_shown import show_plan

    show_plan(told, config, Cameras(cameras, days, fps), as_json=as_json)


@machine.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "pull llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        "pull Qwen/Qwen2.5-VL-7B-Instruct --revision main",
    ),
)
def pull(
    model: Annotated[str, typer.Argument(help="Hub id of a Video-LLM.")],
    revision: Annotated[
        str | None, typer.Option(help="A branch, tag or commit; else the latest.")
    ] = None,
) -> None:
    """Download a model from the hub, or the files still missing."""
    from app.pull import pull_model

    pull_model(terminal(), model, revision)


@machine.command(rich_help_panel=_PANEL, epilog=examples("key"))
def key() -> None:
    """Generate a service key, and its hash for the settings file."""
    from app.server.keys import new_key

    made, hashed = new_key()
    terminal().document(f"key:  {made}\nhash: {hashed}")
