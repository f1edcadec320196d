"""The commands of `vstream` and their options. What a command needs, it imports when it runs."""

import logging
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer

from app import old_commands
from app.settings_options import with_service_settings, with_settings, with_settings_file
from app.stream_time import parse_stream_time

if TYPE_CHECKING:
    from app.server.settings import ServiceSettings
    from app.terminal import Terminal
    from vstream.config import VStreamConfig
    from vstream.sources.config import Speed

cli = typer.Typer(
    help="Watch live video and answer questions about it, citing the moments used.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half of what `--help` would cost
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


def _terminal() -> "Terminal":
    from app.terminal import Terminal

    return Terminal()


def _moment(text: str | None) -> float | None:
    return None if text is None else parse_stream_time(text)


Source = Annotated[
    str, typer.Argument(help="A video file, rtsp://, http(s)://, webcam:0 or /dev/video0.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document as the last line of stdout.")
]
AsJsonLines = Annotated[
    bool,
    typer.Option("--json", help="A JSON document a line for each answer and alert."),
]
AsJsonList = Annotated[
    bool, typer.Option("--json", help="Print one JSON list as the last line of stdout.")
]


@cli.command()
@with_settings
def ask(
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
    zone: Annotated[
        str | None,
        typer.Option(
            help="Times in the question are a clock's here, as Europe/Prague; else stream time."
        ),
    ] = None,
    dialogue: Annotated[
        str | None,
        typer.Option(help="A name under which the store remembers what was asked and answered."),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            help="Answer a question about time from the spans in which it is found to be so; else "
            "in the model's words."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Answer a question about a source or a stream, or all you type."""
    from app.ask import ask_source, ask_typed
    from vstream.question import Question

    terminal = _terminal()
    if watch is not None:
        terminal.say("--watch is called --wait now, and by this name until 0.3")
        wait = watch
    if question is None:
        ask_typed(terminal, config, source, "max" if fast else 1.0, as_json=as_json)
        return
    asked = Question(question, _moment(at), from_s=_moment(from_), zone=zone, plan=plan)
    ask_source(terminal, config, source, asked, wait, dialogue, as_json=as_json)


MetricsHost = Annotated[str, typer.Option(help="Address of the metrics.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the metrics; else there are none.")
]


@cli.command()
@with_settings_file
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
    from app.ingest import ingest_source, ingest_streams

    metrics = None if metrics_port is None else (metrics_host, metrics_port)
    if source is None:
        ingest_streams(_terminal(), config, metrics)
    else:
        ingest_source(_terminal(), config, source, id_, 1.0 if real_time else "max", metrics)


@cli.command()
@with_settings
def answer(
    config: "VStreamConfig",
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="How many questions are answered at a time.")
    ] = 2,
) -> None:
    """Answer what `vstream ask` asks elsewhere about streams in Redis."""
    from app.answer import answer_questions

    answer_questions(_terminal(), config, workers)


@cli.command()
@with_settings
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
    from app.play import Awaited, play_source

    awaited = Awaited(conditions, rule, threshold)
    speed: Speed = "max" if fast else 1.0
    play_source(_terminal(), config, source, speed, awaited, reads=False, as_json=as_json)


for _old in (old_commands.watch, old_commands.rtsp):
    cli.command(hidden=True)(_old)


@cli.command()
@with_settings
def demo(config: "VStreamConfig") -> None:
    """Open the page on a sample stream. Without a terminal, play it and answer here."""
    from app.demo import open_demo, play_demo

    if sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("CI") != "true":
        open_demo(_terminal(), config)
    else:
        play_demo(_terminal(), config)


@cli.command()
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

    show_page(_terminal(), service, master_key(os.environ), host, port, insecure=insecure)


@cli.command()
@with_settings
def streams(config: "VStreamConfig", as_json: AsJsonList = False) -> None:
    """List the streams that a store remembers."""
    from app.streams import list_streams

    list_streams(_terminal(), config, as_json=as_json)


@cli.command()
def policies(
    model: Annotated[
        str | None,
        typer.Option(help="Whose bytes are told, a hub id or directory; else the embedded."),
    ] = None,
    as_json: AsJsonList = False,
) -> None:
    """List the memory policies, what each keeps, and its bytes an hour."""
    from app.policies import list_policies

    list_policies(_terminal(), model, as_json=as_json)


@cli.command()
@with_settings
def forget(
    config: "VStreamConfig",
    stream: Annotated[str, typer.Argument(help="A stream's id, as `vstream streams` lists it.")],
    from_: Annotated[str, typer.Option("--from", help="The first moment to delete, as 1:23.")],
    to: Annotated[str, typer.Option(help="The last moment to delete, as 2:00.")],
) -> None:
    """Delete what a stream remembers of some time, in every tier."""
    from app.streams import forget_range

    forget_range(_terminal(), config, stream, parse_stream_time(from_), parse_stream_time(to))


@cli.command()
@with_settings
def search(
    config: "VStreamConfig",
    query: Annotated[str, typer.Argument(help="What you look for, as 'a red car'.")],
    stream: Annotated[
        list[str] | None,
        typer.Option(help="A stream's id; may be given repeatedly; else all of the store."),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Look from this moment on, as 1:23.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="Look up to this moment, as 2:00.")] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="So many moments at most.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Find the moments of stored streams most like some words."""
    from app.search import Wanted, search_streams

    wanted = Wanted(query, tuple(stream or ()), _moment(from_), _moment(to), top)
    search_streams(_terminal(), config, wanted, as_json=as_json)


@cli.command()
@with_settings
def find(
    config: "VStreamConfig",
    streams: Annotated[list[str], typer.Argument(help="Ids of streams in the store.")],
    statement: Annotated[str, typer.Argument(help="What is so, as 'a dog is on the sofa'.")],
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="Look from this moment on: 1:23 of the stream, yesterday, -2h."
        ),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Look up to this moment, as --from.")] = None,
    zone: Annotated[str, typer.Option(help="Of clock times, as Europe/Prague.")] = "UTC",
    effort: Annotated[str, typer.Option(help="quick, default or thorough.")] = "default",
    proposals: Annotated[
        int | None, typer.Option(min=0, help="Blocks of a stream that the index may propose.")
    ] = None,
    judgements: Annotated[
        int | None, typer.Option(min=0, help="Blocks of a stream that the model may judge.")
    ] = None,
    milliseconds: Annotated[
        int | None, typer.Option(min=0, help="So long for all streams together.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find when something was so in stored streams."""
    from app.find import Sought, find_spans
    from vstream.search.finding import effort_of

    bounds = effort_of(effort, proposals, judgements, milliseconds)
    sought = Sought(streams, statement, from_, to, zone, bounds)
    find_spans(_terminal(), config, sought, as_json=as_json)


@cli.command()
@with_settings
def recap(
    config: "VStreamConfig",
    streams: Annotated[
        str, typer.Option(help="Ids of streams in the store, with commas; all: each of them.")
    ] = "all",
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Tell from this moment on, as 8:00, yesterday, -2h."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Tell up to this moment, as --from.")] = None,
    zone: Annotated[str, typer.Option(help="Of clock times, as Europe/Prague.")] = "UTC",
    effort: Annotated[str, typer.Option(help="quick, default or thorough.")] = "default",
    as_json: AsJson = False,
) -> None:
    """Tell what came and left in stored streams."""
    from app.recap import Away, tell
    from vstream.search.finding import effort_of
    from vstream.search.recap import EFFORTS

    away = Away(streams, from_, to, zone, effort_of(effort, of=EFFORTS))
    tell(_terminal(), config, away, as_json=as_json)


@cli.command()
@with_service_settings
def serve(
    config: "ServiceSettings",
    model: Annotated[
        str | None, typer.Argument(help="Hub id or directory of a Video-LLM; else the embedded.")
    ] = None,
    page: Annotated[bool, typer.Option(help="Show the web page at /ui.")] = True,
) -> None:
    """Serve streams, questions and alerts over HTTP, with a page."""
    from app.serve import run_service

    run_service(_terminal(), config, page=page)


@cli.command()
def key() -> None:
    """Make a key for the service, and its hash for the configuration."""
    from app.server.keys import new_key

    made, hashed = new_key()
    _terminal().document(f"key:  {made}\nhash: {hashed}")


@cli.command()
@with_settings
def doctor(config: "VStreamConfig") -> None:
    """Check this machine: GPU, FFmpeg, model, memory, threads."""
    from app.doctor import examine

    raise typer.Exit(0 if examine(_terminal(), config) else 1)
