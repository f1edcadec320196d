"""The commands that look at what a store holds. What one needs, it imports when it runs."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.command_parts import AsJson, AsJsonList, examples, moment, terminal
from app.settings_options import MODEL, POLICY, READ, STORE, with_settings
from app.stream_time import clock, parse_stream_time
from vstream.errors import SettingsError

if TYPE_CHECKING:
    from vstream.config import VStreamConfig

stored = typer.Typer()
_PANEL = "What a store holds"
_LOOK, _BOUNDS = "Where to look", "How long to look"
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Look from this moment on: 1:23 of the stream, yesterday, -2h.",
        rich_help_panel=_LOOK,
    ),
]
To = Annotated[
    str | None, typer.Option(help="Look up to this moment, as --from.", rich_help_panel=_LOOK)
]
Zone = Annotated[str, typer.Option(help="Of clock times, as Europe/Prague.", rich_help_panel=_LOOK)]
EffortName = Annotated[
    str, typer.Option(help="quick, default or thorough.", rich_help_panel=_BOUNDS)
]


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples("streams --store file:///data", "streams --store redis://host --json"),
)
@with_settings(STORE)
def streams(config: "VStreamConfig", as_json: AsJsonList = False) -> None:
    """List the streams that a store remembers."""
    from app.streams import list_streams

    list_streams(terminal(), config, as_json=as_json)


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "forget door --from 1:00 --to 2:00 --store file:///data",
        "forget door --from 0 --to 24:00:00 --yes --store redis://host",
    ),
)
@with_settings(STORE)
def forget(
    config: "VStreamConfig",
    stream: Annotated[str, typer.Argument(help="A stream's id, as `vstream streams` lists it.")],
    from_: Annotated[str, typer.Option("--from", help="The first moment to delete, as 1:23.")],
    to: Annotated[str, typer.Option(help="The last moment to delete, as 2:00.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete what a stream remembers of some time, in every tier."""
    from memory import tier_of

    from_s, to_s = parse_stream_time(from_), parse_stream_time(to)
    if to_s < from_s:
        raise SettingsError(f"--to {clock(to_s)} is before --from {clock(from_s)}")
    tier_of(config.memory.store).require_there()
    if not yes:
        _confirm(f"Delete what {stream} remembers of {clock(from_s)} to {clock(to_s)} for good?")
    from app.forget import forget_range

    forget_range(terminal(), config, stream, from_s, to_s)


def _is_asked() -> bool:
    return sys.stdin.isatty()


def _confirm(question: str) -> None:
    """Raises SettingsError where nobody can be asked, Abort for a no."""
    if not _is_asked():
        raise SettingsError("nothing is deleted: there is no terminal to ask at; give --yes")
    typer.confirm(question, abort=True, err=True)


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        'search "a red car" --store file:///data',
        'search "a red car" --stream door --stream garden --top 10 --store redis://host',
        'search "a red car" --from 1:00:00 --json --store file:///data',
    ),
)
@with_settings(MODEL, READ)
def search(
    config: "VStreamConfig",
    query: Annotated[str, typer.Argument(help="What you look for, as 'a red car'.")],
    stream: Annotated[
        list[str] | None,
        typer.Option(
            help="A stream's id; may be given repeatedly; else all of the store.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Look from this moment on, as 1:23.", rich_help_panel=_LOOK),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Look up to this moment, as 2:00.", rich_help_panel=_LOOK)
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="List at most so many moments.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Find the moments of stored streams most like some words."""
    told = terminal()
    with told.loading("starting"):
        from app.search import Wanted, search_streams

    wanted = Wanted(query, tuple(stream or ()), moment(from_), moment(to), top)
    search_streams(told, config, wanted, as_json=as_json)


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        'find door garden "a dog is on the sofa" --store file:///data',
        'find door "the gate is open" --from yesterday --to now --zone Europe/Prague '
        "--store file:///data",
        'find door "the gate is open" --effort quick --json --store file:///data',
    ),
)
@with_settings(MODEL, READ, POLICY)
def find(
    config: "VStreamConfig",
    streams: Annotated[list[str], typer.Argument(help="Ids of streams in the store.")],
    statement: Annotated[str, typer.Argument(help="What is so, as 'a dog is on the sofa'.")],
    from_: From = None,
    to: To = None,
    zone: Zone = "UTC",
    effort: EffortName = "default",
    proposals: Annotated[
        int | None,
        typer.Option(
            min=0, help="Blocks of a stream that the index may propose.", rich_help_panel=_BOUNDS
        ),
    ] = None,
    judgements: Annotated[
        int | None,
        typer.Option(
            min=0, help="Blocks of a stream that the model may judge.", rich_help_panel=_BOUNDS
        ),
    ] = None,
    milliseconds: Annotated[
        int | None, typer.Option(min=0, help="For all streams together.", rich_help_panel=_BOUNDS)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find when something was so in stored streams."""
    told = terminal()
    with told.loading("starting"):
        from app.find import Sought, find_spans
        from vstream.search.finding import effort_of

    bounds = effort_of(effort, proposals, judgements, milliseconds)
    sought = Sought(streams, statement, from_, to, zone, bounds)
    find_spans(told, config, sought, as_json=as_json)


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "recap --from 8:00 --to now --store file:///data",
        "recap --streams door,garden --from yesterday --zone Europe/Prague --store file:///data",
    ),
)
@with_settings(MODEL, READ, POLICY)
def recap(
    config: "VStreamConfig",
    streams: Annotated[
        str,
        typer.Option(
            help="Ids of streams in the store, with commas; all: each of them.",
            rich_help_panel=_LOOK,
        ),
    ] = "all",
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Tell from this moment on, as 8:00, yesterday, -2h.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Tell up to this moment, as --from.", rich_help_panel=_LOOK)
    ] = None,
    zone: Zone = "UTC",
    effort: EffortName = "default",
    as_json: AsJson = False,
) -> None:
    """Tell what came and left in stored streams."""
    told = terminal()
    with told.loading("starting"):
        from app.recap import Away, tell
        from vstream.search.finding import effort_of
        from vstream.search.recap import EFFORTS

    away = Away(streams, from_, to, zone, effort_of(effort, of=EFFORTS))
    tell(told, config, away, as_json=as_json)
