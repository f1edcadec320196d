"""Timeline strip: a history, exchanges and watches in, what the browser draws of them out."""

from collections.abc import Sequence
from typing import Any

from app.page.visitors import Exchange
from app.server.documents import Timeline, WatchDocument


def history_document(name: str, told: Timeline, stream_s: float) -> dict[str, Any]:
    """What is kept and where the picture changes, and where the present is.

    A part is [from_s, to_s, change, change_s].
    """
    parts = [
        [round(at, 3) for at in (part.from_s, part.to_s, part.change, part.change_s)]
        for part in told.parts
    ]
    return {
        "stream": name,
        "kept_from_s": told.kept_from_s,
        "kept_to_s": told.kept_to_s,
        "now_s": max(told.kept_to_s, stream_s),
        "part_s": told.part_s,
        "parts": parts,
    }


def marks_document(
    exchanges: Sequence[Exchange], watches: Sequence[WatchDocument], stream_id: str
) -> dict[str, Any]:
    """What each answer about the stream retrieved, newest first, and where watches fired on it.

    A moment is [end_s, score]; the number of an answer stays, so that its colour does.
    """
    answers = [
        {
            "number": number,
            "question": one.question,
            "moments": [[cited.end_s, round(cited.score, 3)] for cited in one.citations],
        }
        for number, one in enumerate(exchanges)
        if one.stream_id == stream_id and one.citations
    ]
    firings = [
        {"at_s": one.at_s, "condition": watch.condition, "probability": one.probability}
        for watch in watches
        for one in watch.firings
        if one.stream_id == stream_id
    ]
    return {"answers": answers[::-1], "firings": firings}
