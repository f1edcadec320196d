"""The commands that read a store. Each imports what it needs when it runs."""

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
_PANEL = "Stored streams"
_LOOK, _BOUNDS = "Where to look", "How hard to look"
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="Start of the range: stream time (1:23), yesterday or -2h.",
        rich_help_panel=_LOOK,
    ),
]
To = Annotated[
    str | None, typer.Option(help="End of the range, as for --from.", rich_help_panel=_LOOK)
]
Zone = Annotated[str, typer.Option(help="Time zone, e.g. Europe/Prague.", rich_help_panel=_LOOK)]
EffortName = Annotated[
    str, typer.Option(help="quick, default or thorough.", rich_help_panel=_BOUNDS)
]


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples("streams --store file:///data", "streams --store redis://host --json"),
)
@with_settings(STORE)
def streams(config: "VStreamConfig", as_json: AsJsonList = False) -> None:
    """List the streams in a store."""
    from app.streams import list_streams

    list_streams(terminal(), config, as_json=as_json)


@stored.command(
    rich_help_panel=_PANEL,
    epilog=examples(
        "verify file:///data", "verify file:///data --repair", "verify redis://host --json"
    ),
)
@with_settings(STORE)
def verify(
    config: "VStreamConfig",
    store: Annotated[
        str | None,
        typer.Argument(help="file:///DIR, redis://HOST or s3://BUCKET; else the configured one."),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Keep what can be read of each damaged stream, and move its damaged files to its "
            "folder `damaged`. Only streams in files that no process is writing.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read everything in a store and report what is damaged or missing."""
    from app.verify import verify_store

    is_sound = verify_store(terminal(), config, repair=repair, as_json=as_json)
    raise typer.Exit(0 if is_sound else 1)


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
    stream: Annotated[str, typer.Argument(help="A stream's id (see `vstream streams`).")],
    from_: Annotated[str, typer.Option("--from", help="First moment to delete, e.g. 1:23.")],
    to: Annotated[str, typer.Option(help="Last moment to delete, e.g. 2:00.")],
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete part of a stream's memory, in every tier of the store."""
    from memory import tier_of

    from_s, to_s = parse_stream_time(from_), parse_stream_time(to)
    if to_s < from_s:
        raise SettingsError(f"--to {clock(to_s)} is before --from {clock(from_s)}")
    tier_of(config.memory.store).require_there()
    if not yes:
        _confirm(f"Permanently delete {clock(from_s)} to {clock(to_s)} of {stream}?")
    from app.forget import forget_range

    forget_range(terminal(), config, stream, from_s, to_s)


def _is_asked() -> bool:
    return sys.stdin.isatty()


def _confirm(question: str) -> None:
    """Ask before deleting. Raises SettingsError without a terminal, Abort if the answer is no."""
    if not _is_asked():
        raise SettingsError("nothing deleted: no terminal to confirm at; pass --yes")
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
    query: Annotated[str, typer.Argument(help="What to look for, e.g. 'a red car'.")],
    stream: Annotated[
        list[str] | None,
        typer.Option(
            help="A stream's id; may be repeated; else every stream in the store.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Start of the range, e.g. 1:23.", rich_help_panel=_LOOK),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="End of the range, e.g. 2:00.", rich_help_panel=_LOOK)
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="List at most this many moments.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Search stored streams for the moments that best match some words."""
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
    statement: Annotated[
        str, typer.Argument(help="A statement to check, e.g. 'a dog is on the sofa'.")
    ],
    from_: From = None,
    to: To = None,
    zone: Zone = "UTC",
    effort: EffortName = "default",
    proposals: Annotated[
        int | None,
        typer.Option(
            min=0, help="Most blocks per stream to take from the index.", rich_help_panel=_BOUNDS
        ),
    ] = None,
    judgements: Annotated[
        int | None,
        typer.Option(
            min=0, help="Most blocks per stream to have the model judge.", rich_help_panel=_BOUNDS
        ),
    ] = None,
    milliseconds: Annotated[
        int | None,
        typer.Option(min=0, help="Time limit for all streams together.", rich_help_panel=_BOUNDS),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every span of stored streams in which a statement was true."""
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
            help="Stream ids, separated by commas, or all.",
            rich_help_panel=_LOOK,
        ),
    ] = "all",
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Start of the range: 8:00, yesterday or -2h.",
            rich_help_panel=_LOOK,
        ),
    ] = None,
    to: To = None,
    zone: Zone = "UTC",
    effort: EffortName = "default",
    as_json: AsJson = False,
) -> None:
    """Recap what appeared in stored streams, and what left."""
    told = terminal()
    with told.loading("starting"):
        from app.recap import Away, tell
        from vstream.search.finding import effort_of
        from vstream.search.recap import EFFORTS

    away = Away(streams, from_, to, zone, effort_of(effort, of=EFFORTS))
    tell(told, config, away, as_json=as_json)
