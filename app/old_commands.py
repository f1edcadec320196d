"""Commands of before 0.3: until then they work by their old names, or say what replaces them."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.settings_options import MEMORY, MODEL, SERVICE, SOURCE, with_settings

if TYPE_CHECKING:
    from app.server.settings import ServiceSettings
    from vstream.config import VStreamConfig


@with_settings(SOURCE, MODEL, MEMORY)
def watch(
    config: "VStreamConfig",
    source: Annotated[str, typer.Argument()],
    fast: Annotated[bool, typer.Option()] = False,
    tell: Annotated[list[str] | None, typer.Option()] = None,
    rule: Annotated[str | None, typer.Option()] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """`ask` without a question and `alert` before 0.3, both at once."""
    from app.play import Awaited, play_source
    from app.terminal import Terminal

    terminal = Terminal()
    now = "alert SOURCE CONDITION" if tell else "ask SOURCE"
    terminal.say(f"watch is called `vstream {now}` now, and by this name until 0.3")
    awaited = Awaited(tell or (), rule, threshold, called="watch")
    play_source(terminal, config, source, "max" if fast else 1.0, awaited, as_json=as_json)


@with_settings(SOURCE, MODEL, MEMORY, SERVICE)
def rtsp(
    config: "ServiceSettings",
    metrics_host: Annotated[str, typer.Option()] = "127.0.0.1",
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """`ingest --config` before 0.3."""
    from app.ingest import ingest_streams
    from app.terminal import Terminal

    terminal = Terminal()
    terminal.say("rtsp is called `vstream ingest --config FILE` now, and by this name until 0.3")
    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    ingest_streams(terminal, config, metrics)


ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Of a command that is gone: whatever is typed behind it."""


def answer() -> None:
    """Answer what others asked by way of Redis, before 0.3."""
    from app.terminal import Terminal

    Terminal().fail(
        "vstream answer is gone: keep a model loaded by `vstream serve --store redis://HOST`, and "
        "ask it by `vstream ask --service http://HOST:8900 STREAM QUESTION`"
    )
    raise typer.Exit(2)
