"""What the commands share: the terminal, arguments, and examples in their help."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.stream_time import parse_stream_time

if TYPE_CHECKING:
    from app.terminal import Terminal

OUTPUT = "Output"
"""Where the help shows options of what is printed."""
Source = Annotated[
    str, typer.Argument(help="A video file, rtsp://, http(s)://, webcam:0 or /dev/video0.")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document as the last line of stdout.", rich_help_panel=OUTPUT
    ),
]
AsJsonLines = Annotated[
    bool,
    typer.Option(
        "--json", help="A JSON document a line for each answer and alert.", rich_help_panel=OUTPUT
    ),
]
AsJsonList = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON list as the last line of stdout.", rich_help_panel=OUTPUT
    ),
]


def terminal() -> "Terminal":
    from app.terminal import Terminal

    return Terminal()


def moment(text: str | None) -> float | None:
    """Seconds of stream time. Raises SettingsError."""
    return None if text is None else parse_stream_time(text)


def examples(*lines: str) -> str:
    """The end of a command's help: what one would type."""
    return "\n".join(("Examples:", *(f"  vstream {line}" for line in lines)))
