"""Tool documents: the functions that a request offers, and the calls that the model asks for."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Function(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="A JSON schema.")


class Tool(BaseModel):
    """A function of the caller's."""

    model_config = ConfigDict(extra="allow")

    type: Literal["function"]
    function: Function


class FunctionName(BaseModel):
    name: str


class OneTool(BaseModel):
    type: Literal["function"] = "function"
    function: FunctionName


ToolChoice = Literal["none", "auto", "required"] | OneTool


class FunctionCall(BaseModel):
    name: str = Field(max_length=64)
    arguments: str = Field(max_length=400_000, description="JSON.")


class ToolCall(BaseModel):
    """What the model asks its caller to call."""

    id: str = Field(max_length=100)
    type: Literal["function"] = "function"
    function: FunctionCall
