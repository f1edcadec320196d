"""log_to_stderr: log in plain lines on a terminal, and in JSON elsewhere."""

import logging
import sys
from typing import Any

import structlog


def log_to_stderr(level: int = logging.INFO, *, for_people: bool | None = None) -> None:
    """Log from `level` up. `for_people` chooses plain lines; None: if stderr is a terminal."""
    for_people = sys.stderr.isatty() if for_people is None else for_people
    renderer = (
        # Other tracebacks show local variables, which may hold passwords.
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if for_people
        else structlog.processors.JSONRenderer()
    )
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso", utc=True),
    ]
    if not for_people:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[*processors, renderer],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
