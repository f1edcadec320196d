"""Messages: what a request says and shows, as OpenAI's clients send it."""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from app.server.api_errors import UNSUPPORTED
from app.server.tool_documents import ToolCall


def only(*understood: Any) -> BeforeValidator:
    """Annotate an OpenAI field of which we support only these values, or only null."""

    def check(value: Any) -> Any:
        if value is None or any(value == one and type(value) is type(one) for one in understood):
            return value
        known = " or ".join(json.dumps(one) for one in understood if one or one == 0)
        problem = f"only {known} is supported here" if known else "not supported here: leave it out"
        raise PydanticCustomError(UNSUPPORTED, "{problem}", {"problem": problem})

    return BeforeValidator(check)


Words = Annotated[str, Field(max_length=100_000)]
"""The bound also makes pydantic refuse lone surrogates, which are not valid Unicode."""


class TextPart(BaseModel):
    type: Literal["text"] = "text"
    text: Words


def _whole(given: Any) -> Any:
    """Accept a plain URL, as some clients send it."""
    return {"url": given} if isinstance(given, str) else given


class VideoUrl(BaseModel):
    """A stream, or part of it; or a clip sent with the request."""

    url: str = Field(
        description="stream://ID, optionally with ?from= and &to=; or a clip: http(s)://..., "
        "data:video/...;base64,... or data:video/jpeg;base64,... with JPEGs separated by commas."
    )


class ImageUrl(BaseModel):
    """A picture sent with the request."""

    url: str = Field(
        description="http(s)://... or data:image/...;base64,... of a PNG, JPEG or WebP."
    )


class VideoPart(BaseModel):
    """A stream or a clip that the question is about."""

    type: Literal["video_url", "input_video"] = "video_url"
    video_url: Annotated[VideoUrl, BeforeValidator(_whole)]


class ImagePart(BaseModel):
    """A picture that the question is about."""

    type: Literal["image_url", "input_image"] = "image_url"
    image_url: Annotated[ImageUrl, BeforeValidator(_whole)]


Part = Annotated[TextPart | VideoPart | ImagePart, Field(discriminator="type")]


class Message(BaseModel):
    """One turn of the dialogue; the last is the question, or what a called tool returned."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Words | list[Part] | None = None
    tool_calls: list[ToolCall] | None = Field(None, max_length=100)


class InputText(BaseModel):
    type: Literal["input_text", "output_text"]
    text: Words


InputPart = Annotated[InputText | TextPart | VideoPart | ImagePart, Field(discriminator="type")]


class InputMessage(BaseModel):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Words | list[InputPart] | None = None
