"""Commands from before 0.3: they keep working until then, or name their replacement."""

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
    """Before 0.3: `ask` without a question, and `alert`, in one."""
    from app.play import Awaited, play_source
    from app.terminal import Terminal

    terminal = Terminal()
    now = "alert SOURCE CONDITION" if tell else "ask SOURCE"
    terminal.say(f"watch is now `vstream {now}`; the old name works until 0.3")
    awaited = Awaited(tell or (), rule, threshold, called="watch")
    play_source(terminal, config, source, "max" if fast else 1.0, awaited, as_json=as_json)


@with_settings(SOURCE, MODEL, MEMORY, SERVICE)
def rtsp(
    config: "ServiceSettings",
    metrics_host: Annotated[str, typer.Option()] = "127.0.0.1",
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535)] = None,
) -> None:
    """Before 0.3: `ingest --config`."""
    from app.ingest import ingest_streams
    from app.terminal import Terminal

    terminal = Terminal()
    terminal.say("rtsp is now `vstream ingest --config FILE`; the old name works until 0.3")
    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    ingest_streams(terminal, config, metrics)


ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Accept whatever follows the name of a removed command."""


def answer() -> None:
    """Before 0.3: answer questions that others asked through Redis."""
    from app.terminal import Terminal

    Terminal().fail(
        "vstream answer is gone: keep a model loaded with `vstream serve --store redis://HOST`, "
        "and ask it with `vstream ask --service http://HOST:8900 STREAM QUESTION`"
    )
    raise typer.Exit(2)
