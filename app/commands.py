"""The commands of `vstream` and their options. What a command needs, it imports when it runs."""

import logging
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from app import old_commands
from app.command_parts import AsJson, AsJsonLines, Source, examples, moment, terminal
from app.machine_commands import machine
from app.settings_options import (
    FILE,
    MEMORY,
    MODEL,
    SERVICE,
    SOURCE,
    with_settings,
)
from app.stored_commands import stored
from vstream.errors import SettingsError

if TYPE_CHECKING:
    from app.server.settings import ServiceSettings
    from vstream.config import VStreamConfig
    from vstream.sources.config import Speed

cli = typer.Typer(
    help="Watch live video and answer questions about it, citing the moments used.",
    epilog=examples("demo", 'ask lobby.mp4 "what do you see?"', "serve --store file:///data"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _say_version(is_wanted: bool) -> None:
    if is_wanted:
        sys.stdout.write(f"vstream {version('vstream')}\n")
        raise typer.Exit


@cli.callback()
def _before(
    is_version_wanted: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Say which.")
    ] = False,
) -> None:
    """Before any command: the log says errors, and they are plain."""
    from app.server.service_log import log_to_stderr

    log_to_stderr(logging.ERROR, for_people=True)


_ASK, _SERVE = "Ask", "Service and page"
_METRICS = "Metrics"


ClockZone = Annotated[
    str | None,
    typer.Option(
        help="Times in the question are a clock's here, as Europe/Prague; else stream time."
    ),
]
Planned = Annotated[
    bool,
    typer.Option(
        help="Answer a question about time from the spans in which it is found to be so; else in "
        "the model's words."
    ),
]


Service = Annotated[
    str | None,
    typer.Option(
        help="Ask a running `vstream serve`, as http://HOST:8900, about a stream it knows. "
        "VSTREAM_API_KEY is its key."
    ),
]
Dialogue = Annotated[
    str | None,
    typer.Option(help="A name under which the store remembers what was asked and answered."),
]
_ASKED_THERE = {"source", "question", "at", "from_", "zone", "plan", "service", "as_json"}
"""What of `ask` a service can be told; all else is the service's own."""


def _refuse_others(context: typer.Context, known: set[str]) -> None:
    """Raises SettingsError for an option that was typed and has no effect with --service."""
    for one in context.command.params:
        source = context.get_parameter_source(one.name or "")
        if one.name not in known and source is not None and source.name == "COMMANDLINE":
            raise SettingsError(f"{one.opts[0]} has no effect with --service: leave it out")


@cli.command(
    rich_help_panel=_ASK,
    epilog=examples(
        'ask lobby.mp4 "what colour is the van?"',
        "ask webcam:0",
        'ask lobby.mp4 "is anyone there?" --at 12:30 --json',
        'ask rtsp://user:password@camera/stream1 "what do you see?" --wait 20',
        'ask door "has the van been here?" --store redis://host',
        'ask door "has the van been here?" --service http://host:8900',
    ),
)
@with_settings(SOURCE, MODEL, MEMORY)
def ask(
    context: typer.Context,
    config: "VStreamConfig",
    source: Annotated[
        str, typer.Argument(help="A source as for `ingest`, or the id of a stream in the store.")
    ],
    question: Annotated[
        str | None,
        typer.Argument(help="What you want to know; else type questions while the source plays."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Ask about this moment of a file or stream, as 1:23; else its end."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Look at nothing before this moment, as 1:23.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds of a live source to see before answering.")
    ] = 10.0,
    watch: Annotated[float | None, typer.Option(min=0, hidden=True)] = None,
    fast: Annotated[
        bool, typer.Option(help="Without a question: read a file as fast as possible.")
    ] = False,
    zone: ClockZone = None,
    dialogue: Dialogue = None,
    plan: Planned = True,
    service: Service = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about a source or a stream, or all you type."""
    told, at_s, from_s = terminal(), moment(at), moment(from_)
    if service is not None:
        _refuse_others(context, _ASKED_THERE)
        from app.ask_service import AskedThere, ask_service

        there = AskedThere(source, question, from_s, at_s, zone, plan)
        ask_service(told, config, service, there, as_json=as_json)
        return
    from app.first_look import look_at_question, look_before_playing

    if watch is not None:
        told.say("--watch is called --wait now, and by this name until 0.3")
        wait = watch
    if question is None:
        look_before_playing(told, config, source)
        with told.loading("starting"):
            from app.play import play_source

        play_source(told, config, source, "max" if fast else 1.0, as_json=as_json)
        return
    named = look_at_question(config, source, question, at_s, from_s, zone, dialogue)
    with told.loading("starting"):
        from app.ask import ask_source
        from vstream.question import Question

    asked = Question(question, at_s, from_s=from_s, zone=zone, plan=plan)
    ask_source(told, config, named, source, asked, wait, dialogue, as_json=as_json)


MetricsHost = Annotated[str, typer.Option(help="Address of the metrics.", rich_help_panel=_METRICS)]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port of the metrics; else there are none.",
        rich_help_panel=_METRICS,
    ),
]


@cli.command(
    rich_help_panel=_ASK,
    epilog=examples(
        "ingest rtsp://user:password@camera/stream1 --id door --store file:///data",
        "ingest lobby.mp4 --store file:///data --file-bytes 20GiB --retain 7d",
        "ingest --config streams.yaml --metrics-port 9100",
    ),
)
@with_settings(SOURCE, MODEL, MEMORY, FILE)
def ingest(
    config: "ServiceSettings",
    source: Annotated[
        str | None,
        typer.Argument(
            help="A video file, rtsp://, http(s)://, webcam:0 or /dev/video0; else the streams of "
            "--config."
        ),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="The stream's id; else made from the source.")
    ] = None,
    real_time: Annotated[
        bool, typer.Option(help="Read a file at its own speed, not as fast as possible.")
    ] = False,
    metrics_host: MetricsHost = "127.0.0.1",
    metrics_port: MetricsPort = None,
) -> None:
    """Encode a source, or the cameras of a file, into the store."""
    from app.first_look import look_at_source

    told = terminal()
    if source is not None:
        if config.streams:
            raise SettingsError("SOURCE and `streams` of --config: name only one of them")
        look_at_source(told, config, source)
    with told.loading("starting"):
        from app.ingest import ingest_source, ingest_streams

    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    if source is None:
        ingest_streams(told, config, metrics)
    else:
        ingest_source(told, config, source, id_, 1.0 if real_time else "max", metrics)


@cli.command(
    rich_help_panel=_ASK,
    epilog=examples(
        'alert rtsp://user:password@camera/stream1 "when a dog is on the table"',
        'alert webcam:0 "when the gate is open" "when a van comes" --json',
        'alert lobby.mp4 "when the van leaves" --fast',
    ),
)
@with_settings(SOURCE, MODEL, MEMORY)
def alert(
    config: "VStreamConfig",
    source: Source,
    conditions: Annotated[
        list[str], typer.Argument(help="What to wait for, as 'tell me when a dog appears'.")
    ],
    fast: Annotated[
        bool, typer.Option(help="Read a file as fast as possible, not at its own speed.")
    ] = False,
    rule: Annotated[
        str | None,
        typer.Option(help="When to tell: k_of_n or silence; else as the model recommends."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="How probable it must be; else as the model recommends."),
    ] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Play a source and tell when something is so."""
    from app.first_look import look_at_source

    told = terminal()
    look_at_source(told, config, source)
    with told.loading("starting"):
        from app.play import Awaited, play_source

    awaited = Awaited(conditions, rule, threshold)
    speed: Speed = "max" if fast else 1.0
    play_source(told, config, source, speed, awaited, reads=False, as_json=as_json)


for _old in (old_commands.watch, old_commands.rtsp):
    cli.command(hidden=True)(_old)
cli.command(hidden=True, context_settings=old_commands.ANYTHING)(old_commands.answer)


@cli.command(rich_help_panel=_SERVE, epilog=examples("demo", "demo --model /models/smolvlm2"))
@with_settings(MODEL, MEMORY)
def demo(config: "VStreamConfig") -> None:
    """Open the page on a sample stream. Without a terminal, play it and answer here."""
    told = terminal()
    with told.loading("starting"):
        from app.demo import open_demo, play_demo

    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("CI") != "true":
        open_demo(told, config)
    else:
        play_demo(told, config)


@cli.command(
    rich_help_panel=_SERVE,
    epilog=examples("ui --service http://host:8900", "ui --service http://host:8900 --port 80"),
)
def ui(
    service: Annotated[str, typer.Option(help="Address of a service, as http://HOST:8900.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8901,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a key.")
    ] = False,
) -> None:
    """Show the page of a service that runs elsewhere. VSTREAM_API_KEY is its key, and the
    password of the page.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from app.server.keys import master_key
    from app.ui import show_page  # Gradio takes seconds to import: only where it is shown

    show_page(terminal(), service, master_key(os.environ), host, port, insecure=insecure)


@cli.command(
    rich_help_panel=_SERVE,
    epilog=examples(
        "serve --store file:///data",
        "serve Qwen/Qwen3-VL-2B-Instruct --config streams.yaml",
        "serve --host 0.0.0.0 --store redis://host --no-page",
        "serve --cluster --workers 4 --store redis://host",
    ),
)
@with_settings(SOURCE, MODEL, MEMORY, SERVICE)
def serve(
    config: "ServiceSettings",
    model: Annotated[
        str | None, typer.Argument(help="Hub id or directory of a Video-LLM; else the embedded.")
    ] = None,
    page: Annotated[bool, typer.Option(help="Show the web page at /ui.")] = True,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Several workers on Ray, without the page; see docs.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="With --cluster, how many: each loads the model.")
    ] = 2,
    max_workers: Annotated[
        int | None, typer.Option(help="More of them, up to so many, while these are busy.")
    ] = None,
) -> None:
    """Serve streams, questions and alerts over HTTP, with a page."""
    told = terminal()
    if cluster:
        from app.cluster.app import serve_cluster

        serve_cluster(told, config, workers, max_workers)
        return
    with told.loading("starting"):
        from app.serve import run_service

    run_service(told, config, page=page)


cli.add_typer(stored)
cli.add_typer(machine)
