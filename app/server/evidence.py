"""Evidence: the answers of streams in, what is told of how they came about out."""

from collections.abc import Sequence

from app.server.chat_documents import StreamEvidence, Usage
from vstream.service.inquiry import StreamAnswer


def usage_of(found: Sequence[StreamAnswer]) -> Usage:
    """Of all streams together."""
    prompt = sum(one.answer.context_tokens for one in found)
    completion = sum(len(one.answer.token_ids) for one in found)
    return Usage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )


def evidence_of(found: Sequence[StreamAnswer]) -> list[StreamEvidence]:
    """How well each stream's part is founded."""
    told = []
    for one in found:
        answer = one.answer
        told.append(
            StreamEvidence(
                **answer.basis(),
                stream_id=one.stream_id,
                as_of=one.as_of,
                newest_frame_at=one.newest_frame_at,
                newest_frame_age_s=one.newest_frame_age_s,
                looked_from_s=answer.looked.from_s if answer.looked else None,
                looked_to_s=answer.looked.to_s if answer.looked else None,
                confidence=answer.confidence,
                unsure=answer.is_unsure,
                moments=len(answer.evidence),
                ttft_ms=answer.timings_ms.ttft,
                total_ms=answer.timings_ms.total,
            )
        )
    return told
