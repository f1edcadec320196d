"""Chat documents: the bodies of /v1/chat/completions, as OpenAI's clients send and expect them.

A field that we do not support is refused if it would change the answer; its default is accepted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.server.documents import Citation
from app.server.messages import Message, only
from app.server.tool_documents import Tool, ToolCall, ToolChoice
from vstream.question import Basis, CitedSpan, Plan
from vstream.service.inquiry import StreamAnswer


class JsonSchema(BaseModel):
    """A schema for the answer's JSON, as far as `llguidance` supports JSON Schema."""

    model_config = ConfigDict(strict=True, populate_by_name=True)

    name: str = Field("answer", max_length=64)
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


Stop = Annotated[str, Field(min_length=1, max_length=256)]


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool = Field(False, description="Send a last chunk with `usage`.")


_EXAMPLE: JsonDict = {
    "model": "default",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "video_url", "video_url": {"url": "stream://door?from=-10m"}},
                {"type": "text", "text": "who came?"},
            ],
        }
    ],
}


PolicyName = Annotated[
    str,
    Field(
        max_length=64,
        description="vstream's own: use this memory policy, which must only select blocks, in "
        "place of the stream's.",
    ),
]


class Wishes(BaseModel):
    """The fields that chat completions and responses share."""

    model_config = ConfigDict(strict=True)

    stream: bool = Field(False, description="Send server-sent events instead of one document.")
    temperature: float | None = Field(
        None, ge=0, le=2, description="Unset: 0, which gives the same answer each time."
    )
    top_p: float | None = Field(None, gt=0, le=1)
    policy: PolicyName | None = None
    timezone: str | None = Field(
        None,
        max_length=64,
        description="vstream's own: IANA time zone for times in the question; unset: the stream's.",
    )
    plan: bool = Field(
        True,
        description="vstream's own: answer questions about time (when, how often, how long) from "
        "the spans that a search finds; false: let the model answer.",
    )
    top_logprobs: Annotated[Literal[0] | None, only(0)] = None


class ChatRequest(Wishes):
    """Other fields are ignored, unless they would change the answer."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    model: str = Field("default", max_length=200, description="`default` or the model's name.")
    messages: list[Message] = Field(
        min_length=1, max_length=200, description="The dialogue so far; the last is the question."
    )
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, description="Capped at 4096.")
    max_completion_tokens: int | None = Field(None, ge=1, description="Capped at 4096.")
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: Stop | list[Stop] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Tool] | None = Field(
        None,
        max_length=128,
        description="Functions that the model may ask you to call, if its chat template knows "
        "tools; else they are ignored, and `tools_ignored` says so.",
    )
    tool_choice: ToolChoice | None = None
    n: Annotated[Literal[1] | None, only(1)] = 1
    functions: Annotated[list[Any] | None, only([])] = Field(None, max_length=0)
    logprobs: Annotated[Literal[False] | None, only(False)] = None
    logit_bias: Annotated[dict[str, Any] | None, only({})] = Field(None, max_length=0)
    frequency_penalty: Annotated[float | None, only(0, 0.0)] = Field(None, ge=0, le=0)
    presence_penalty: Annotated[float | None, only(0, 0.0)] = Field(None, ge=0, le=0)
    modalities: Annotated[list[Literal["text"]] | None, only(["text"])] = None


class Usage(BaseModel):
    """`prompt_tokens` counts the whole context, retrieved blocks included."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="null: there are only `tool_calls`.")
    annotations: list[Citation]
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel):
    index: int = 0
    message: AnswerMessage
    finish_reason: Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, kw_only=True)
class StreamEvidence(Basis):
    """What one stream's part of the answer is based on. `as_of` and names in `_at` are seconds
    since the epoch; other times are stream time. If the question named a time, only `looked_from_s`
    to `looked_to_s` was read. `spans` are the parts of the stream that the answer's words attended
    to, each with its `share` of the attention.

    `knows` says what the model was trained on, e.g. `drawings only`; null: real scenes. `plan` says
    how a question about time was answered from spans; null: the model answered. `strange` is set
    if the model does not know pictures like these; then `confidence` is 0. `unsure_because` says
    why the answer is `unsure`.

    Media sent with the request form a stream `(request)`, which is not kept. `tools_ignored`: the
    request offered tools, which the model was not shown.
    """

    stream_id: str
    as_of: float
    newest_frame_at: float | None
    newest_frame_age_s: float | None
    looked_from_s: float | None
    looked_to_s: float | None
    confidence: float
    unsure: bool
    unsure_because: str | None
    moments: int
    plan: Plan | None
    spans: tuple[CitedSpan, ...]
    ttft_ms: float
    total_ms: float
    tools_ignored: bool = False


class ChatAnswer(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    vstream: list[StreamEvidence]


def usage_of(found: Sequence[StreamAnswer]) -> Usage:
    prompt = sum(one.answer.context_tokens for one in found)
    completion = sum(len(one.answer.token_ids) for one in found)
    return Usage(
        prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion
    )


def evidence_of(found: Sequence[StreamAnswer], tools_ignored: bool) -> list[StreamEvidence]:
    return [
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
            unsure_because=answer.unsure_because,
            moments=len(answer.evidence),
            plan=answer.plan,
            spans=answer.spans,
            ttft_ms=answer.timings_ms.ttft,
            total_ms=answer.timings_ms.total,
            tools_ignored=tools_ignored,
        )
        for one in found
        for answer in [one.answer]
    ]
