"""Parts that commands share: the terminal, common options, and examples for their help."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.stream_time import parse_stream_time

if TYPE_CHECKING:
    from app.terminal import Terminal

OUTPUT = "Output"
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
        "--json", help="Print each answer and alert as a line of JSON.", rich_help_panel=OUTPUT
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
    """Parse a moment into seconds of stream time. Raises SettingsError."""
    return None if text is None else parse_stream_time(text)


def examples(*lines: str) -> str:
    """Format example command lines for the end of a command's help."""
    return "\n".join(("Examples:", *(f"  vstream {line}" for line in lines)))
