"""The document of an answer: an Answer in, what JSON can carry out, and back; without pictures."""

from dataclasses import asdict
from typing import Any

from vstream.question import Answer, Evidence, Question, Span, Timings


def document_of(answer: Answer) -> dict[str, Any]:
    """JSON-able; times in seconds of stream time, but for `captured_at`, `begin_at` and `end_at`,
    which are Unix time.
    """
    return {
        "answer": answer.text,
        "asked_at_s": answer.asked_at_s,
        "newest_frame_s": answer.newest_frame_s,
        "confidence": answer.confidence,
        "knows": answer.knows,
        "truncated": answer.truncated,
        "looked": None if answer.looked is None else asdict(answer.looked),
        "coarser_since": answer.coarser_since,
        "token_ids": list(answer.token_ids),
        "context_tokens": answer.context_tokens,
        "evidence": [
            {
                "block_id": one.block_id,
                "start_s": one.start_s,
                "end_s": one.end_s,
                "captured_at": one.captured_at,
                "score": one.score,
                "num_layers": one.num_layers,
            }
            for one in answer.evidence
        ],
        "timings_ms": {"ttft": answer.timings_ms.ttft, "total": answer.timings_ms.total},
    }


def answer_of(question: Question, document: dict[str, Any]) -> Answer:
    """The answer that `document_of` described; its evidence has no thumbnails."""
    return Answer(
        question=question,
        text=document["answer"],
        token_ids=tuple(document["token_ids"]),
        asked_at_s=document["asked_at_s"],
        newest_frame_s=document["newest_frame_s"],
        evidence=tuple(Evidence(**one, thumbnail=b"") for one in document["evidence"]),
        timings_ms=Timings(**document["timings_ms"]),
        truncated=document["truncated"],
        confidence=document["confidence"],
        context_tokens=document["context_tokens"],
        knows=document.get("knows"),  # answerers of earlier versions do not say
        coarser_since=document.get("coarser_since"),
        looked=None if document["looked"] is None else Span(**document["looked"]),
    )
