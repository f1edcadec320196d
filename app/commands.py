"""The commands of `vstream` and their options. Each imports what it needs when it runs."""

import logging
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from app import old_commands
from app.command_parts import AsJson, AsJsonLines, Source, examples, moment, terminal
from app.integration_commands import integrations
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
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version."),
    ] = False,
) -> None:
    """Log only errors, in plain text, whatever the command."""
    from app.server.service_log import log_to_stderr

    log_to_stderr(logging.ERROR, for_people=True)


_ASK, _SERVE = "Ask", "Service and page"
_METRICS = "Metrics"


ClockZone = Annotated[
    str | None,
    typer.Option(
        help="Read times in the question as clock times in this zone, e.g. Europe/Prague; else "
        "as stream time."
    ),
]
Planned = Annotated[
    bool,
    typer.Option(
        help="Answer questions about time (when, how often, how long) from the spans that a search "
        "finds; without it, let the model answer."
    ),
]


Service = Annotated[
    str | None,
    typer.Option(
        help="Ask a running `vstream serve`, e.g. http://HOST:8900, about one of its streams; "
        "VSTREAM_API_KEY: its key."
    ),
]
Dialogue = Annotated[
    str | None,
    typer.Option(help="Remember questions and answers in the store under this name."),
]
_ASKED_THERE = {"source", "question", "at", "from_", "zone", "plan", "service", "as_json"}
"""The parameters of `ask` that a service accepts; the rest are the service's own settings."""


def _refuse_others(context: typer.Context, known: set[str]) -> None:
    """Raises SettingsError for a typed option that has no effect with --service."""
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
        str, typer.Argument(help="A source, as for `ingest`, or the id of a stored stream.")
    ],
    question: Annotated[
        str | None,
        typer.Argument(help="Your question. Without one, type questions while the source plays."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Ask about this moment of the video, e.g. 1:23; else about its end."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Ignore everything before this moment, e.g. 1:23.")
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Watch a live source for this many seconds first.")
    ] = 10.0,
    watch: Annotated[float | None, typer.Option(min=0, hidden=True)] = None,
    fast: Annotated[
        bool, typer.Option(help="Without a question, read a file as fast as possible.")
    ] = False,
    zone: ClockZone = None,
    dialogue: Dialogue = None,
    plan: Planned = True,
    service: Service = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question about a video, a camera or a stored stream."""
    console, at_s, from_s = terminal(), moment(at), moment(from_)
    if service is not None:
        _refuse_others(context, _ASKED_THERE)
        from app.ask_service import AskedThere, ask_service

        there = AskedThere(source, question, from_s, at_s, zone, plan)
        ask_service(console, config, service, there, as_json=as_json)
        return
    from app.first_look import look_at_question, look_before_playing

    if watch is not None:
        console.say("--watch is now called --wait; the old name works until 0.3")
        wait = watch
    if question is None:
        look_before_playing(console, config, source)
        with console.loading("starting"):
            from app.play import play_source

        play_source(console, config, source, "max" if fast else 1.0, as_json=as_json)
        return
    named = look_at_question(config, source, question, at_s, from_s, zone, dialogue)
    with console.loading("starting"):
        from app.ask import ask_source
        from vstream.question import Question

    asked = Question(question, at_s, from_s=from_s, zone=zone, plan=plan)
    ask_source(console, config, named, source, asked, wait, dialogue, as_json=as_json)


MetricsHost = Annotated[str, typer.Option(help="Address for metrics.", rich_help_panel=_METRICS)]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=65535,
        help="Port for metrics; else there are none.",
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
            help="A video file, rtsp://, http(s)://, webcam:0 or /dev/video0; else the streams in "
            "--config."
        ),
    ] = None,
    id_: Annotated[
        str | None, typer.Option("--id", help="The stream's id; else derived from the source.")
    ] = None,
    real_time: Annotated[
        bool, typer.Option(help="Play a file in real time, not as fast as possible.")
    ] = False,
    metrics_host: MetricsHost = "127.0.0.1",
    metrics_port: MetricsPort = None,
) -> None:
    """Encode a video or cameras into a store, to ask about later."""
    from app.first_look import look_at_source

    console = terminal()
    if source is not None:
        if config.streams:
            raise SettingsError("give either SOURCE or `streams` in --config, not both")
        look_at_source(console, config, source)
    with console.loading("starting"):
        from app.ingest import ingest_source, ingest_streams

    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    if source is None:
        ingest_streams(console, config, metrics)
    else:
        ingest_source(console, config, source, id_, 1.0 if real_time else "max", metrics)


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
        list[str], typer.Argument(help="What to wait for, e.g. 'tell me when a dog appears'.")
    ],
    fast: Annotated[
        bool, typer.Option(help="Play a file as fast as possible, not in real time.")
    ] = False,
    rule: Annotated[
        str | None,
        typer.Option(help="When to fire: k_of_n or silence; else what the model recommends."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Lowest probability that counts; else what the model recommends."
        ),
    ] = None,
    as_json: AsJsonLines = False,
) -> None:
    """Watch a video or a camera and report when a condition comes true."""
    from app.first_look import look_at_source

    console = terminal()
    look_at_source(console, config, source)
    with console.loading("starting"):
        from app.play import Awaited, play_source

    awaited = Awaited(conditions, rule, threshold)
    speed: Speed = "max" if fast else 1.0
    play_source(console, config, source, speed, awaited, reads=False, as_json=as_json)


for _old in (old_commands.watch, old_commands.rtsp):
    cli.command(hidden=True)(_old)
cli.command(hidden=True, context_settings=old_commands.ANYTHING)(old_commands.answer)


@cli.command(rich_help_panel=_SERVE, epilog=examples("demo", "demo --model /models/smolvlm2"))
@with_settings(MODEL, MEMORY)
def demo(config: "VStreamConfig") -> None:
    """Open the web page on a sample stream; without a terminal, play it and print answers."""
    console = terminal()
    with console.loading("starting"):
        from app.demo import open_demo, play_demo

    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("CI") != "true":
        open_demo(console, config)
    else:
        play_demo(console, config)


@cli.command(
    rich_help_panel=_SERVE,
    epilog=examples("ui --service http://host:8900", "ui --service http://host:8900 --port 80"),
)
def ui(
    service: Annotated[
        str,
        typer.Option(help="Address of a service, e.g. http://HOST:8900; VSTREAM_API_KEY: its key."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8901,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a key.")
    ] = False,
) -> None:
    """Serve the web page of a service that runs elsewhere, with its key as the password."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from app.server.keys import master_key
    from app.ui import show_page  # imports Gradio, which takes seconds

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
        str | None,
        typer.Argument(help="Hub id or directory of a Video-LLM; else the embedded model."),
    ] = None,
    page: Annotated[bool, typer.Option(help="Serve the web page at /ui.")] = True,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Run workers on Ray, without the page; see docs.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="With --cluster, how many: each loads the model.")
    ] = 2,
    max_workers: Annotated[
        int | None,
        typer.Option(help="With --cluster: add workers up to this many while all are busy."),
    ] = None,
) -> None:
    """Serve streams, questions and alerts over HTTP, with a web page."""
    console = terminal()
    if cluster:
        from app.cluster.app import serve_cluster

        serve_cluster(console, config, workers, max_workers)
        return
    with console.loading("starting"):
        from app.serve import run_service

    run_service(console, config, page=page)


cli.add_typer(integrations)
cli.add_typer(stored)
cli.add_typer(machine)
