"""Tool calls: functions that a model asks its caller to call, if its chat template knows tools.

The template's words about them come right before the question, not in the system prompt, which all
questions to a stream share. A template must ask for calls in the form of Qwen3-VL's:
`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.
"""

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from app.server.api_errors import ApiError
from app.server.tool_documents import FunctionCall, OneTool, Tool, ToolCall, ToolChoice
from encoders import Family
from vstream.decoding.token_choice import StopStrings

_OPENS = StopStrings(("<tool_call>",))
_CALLS = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_ANYTHING = {"type": "object"}
_MOST_LETTERS = 100_000


@dataclass(frozen=True)
class Offer:
    """The tools that the model is shown."""

    tools: Sequence[Tool]
    text: str
    """The template's words about them."""
    schema: str | None = None
    """If the answer must be a call: the JSON schema of a call of any of the tools."""

    def settled(self, text: str) -> str:
        """Return the start of an unfinished answer that stays words, whatever follows."""
        return "" if self.schema else _OPENS.settled(text)

    def read(self, text: str) -> tuple[str, list[ToolCall]]:
        """Split an answer into words and calls. What calls none of the tools stays in the words."""
        if self.schema:
            call = self._call(text)
            return (text, []) if call is None else ("", [call])
        calls: list[ToolCall] = []

        def taken(found: re.Match[str]) -> str:
            call = self._call(found[1])
            calls.extend([call] if call else [])
            return "" if call else found[0]

        return _CALLS.sub(taken, text).strip(), calls

    def _call(self, text: str) -> ToolCall | None:
        try:
            wanted = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if not isinstance(wanted, dict) or not isinstance(wanted.get("arguments"), dict):
            return None
        if wanted.get("name") not in [tool.function.name for tool in self.tools]:
            return None
        arguments = json.dumps(wanted["arguments"])  # ASCII: half a surrogate pair is no text
        function = FunctionCall(name=wanted["name"], arguments=arguments)
        return ToolCall(id=f"call_{uuid.uuid4().hex[:24]}", function=function)


def offer_of(
    family: Family, tools: Sequence[Tool] | None, choice: ToolChoice | None
) -> Offer | None:
    """Return what the model is shown of a request's tools; None: nothing, as nothing is offered or
    its template does not ask for calls in a form that we can read. Raises ApiError.
    """
    tools = [] if choice == "none" else tools or []
    if isinstance(choice, OneTool):
        tools = [one for one in tools if one.function.name == choice.function.name]
        if not tools:
            why = f"tool_choice names {choice.function.name!r}, which is not in tools"
            raise ApiError(400, why, "tool_unknown", param="tool_choice")
    try:
        text = family.chat.tools_text([one.model_dump(exclude_unset=True) for one in tools])
        schema = None if choice in (None, "auto") else _schema_of(tools)
    except RecursionError:
        why = "the tools are nested too deeply"
        raise ApiError(400, why, "tools_too_large", param="tools") from None
    if len(text) > _MOST_LETTERS:
        why = f"the tools take {len(text)} letters: at most {_MOST_LETTERS} are read"
        raise ApiError(400, why, "tools_too_large", param="tools")
    return Offer(tools, text, schema) if _OPENS.are_in(text) else None


def _schema_of(tools: Sequence[Tool]) -> str:
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.function.name},
                "arguments": tool.function.parameters or _ANYTHING,
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    return json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls})


def spelled(calls: Sequence[ToolCall]) -> str:
    """Spell earlier calls as the model did."""
    return "".join(
        f'\n<tool_call>\n{{"name": {json.dumps(one.function.name)}, '
        f'"arguments": {one.function.arguments}}}\n</tool_call>'
        for one in calls
    )
