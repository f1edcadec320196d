"""API errors: turn any exception into an HTTP status and an error body in OpenAI's format."""

from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from memory import FingerprintMismatchError, KVMemoryError, PolicyError, StoreAwayError
from vstream.errors import (
    BusyError,
    ConfiguredError,
    QuestionError,
    SettingsError,
    SourceError,
    StreamExistsError,
    UnknownAlertError,
    UnknownStreamError,
    VStreamError,
)

_log = structlog.get_logger()
UNSUPPORTED = "unsupported_parameter"
"""OpenAI's code for a parameter that is not supported."""


class ErrorDetail(BaseModel):
    """What went wrong. `code` is stable."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: ErrorDetail


class ApiError(Exception):
    """The response to a request that fails."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        self.detail = ErrorDetail(message=message, type=kind, param=param, code=code)
        again = {"Retry-After": "1"} if status in (429, 503) else {}
        self.headers = {**again, **(headers or {})}

    @property
    def body(self) -> dict[str, Any]:
        return ErrorBody(error=self.detail).model_dump()


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The request makes no sense.",
        401: "The key is missing or invalid.",
        403: "The key does not allow this.",
        404: "Not found, or not visible to this key.",
        405: "The method is not allowed.",
        409: "Conflicts with the current state.",
        413: "The body is too large.",
        415: "The body has the wrong type.",
        422: "A value has the wrong type or is out of bounds.",
        429: "Too much at once: try again after Retry-After seconds.",
        503: "Not ready, or the store is away.",
    }.items()
}
"""The errors of every route, for OpenAPI."""


def no_key() -> ApiError:
    return ApiError(
        401,
        "missing or invalid key: send Authorization: Bearer KEY",
        "invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def no_stream(allowed: Sequence[str]) -> ApiError:
    """For a question that names no stream when there are several."""
    return ApiError(
        400,
        "name a stream: add a part {type: video_url, video_url: {url: stream://ID}} to the "
        f"question (streams: {', '.join(allowed)}), or send a picture; to ask the model alone, use "
        "a key that sees no stream",
        "no_stream",
        param="messages",
    )


def invalid_value(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """Report one of the errors, without the values sent: they may hold secrets."""
    deepest = max(errors, key=lambda error: len(error["loc"]))  # of a union's, the likely one
    if deepest["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON", "invalid_json")
    loc = [str(part) for part in deepest["loc"] if "[" not in str(part)]
    where = ".".join(loc[1:] if loc and loc[0] in _PLACES else loc)
    problem = str(deepest["msg"]).removeprefix("Value error, ")
    message = f"{where}: {problem}" if where else problem
    if deepest["type"] == UNSUPPORTED:
        return ApiError(400, message, UNSUPPORTED, param=where)
    return ApiError(422, message, "invalid_value", param=where or None)


def api_error(error: BaseException) -> ApiError:
    """The response to `error`; an unexpected one is logged, and the response gives nothing away."""
    if isinstance(error, ApiError):
        return error
    for kind, status, code in _ANSWERS:
        if isinstance(error, kind):
            own = error.code if isinstance(error, SourceError) else code
            return ApiError(status, str(error) or code, own)
    _log.error("request failed", exc_info=error)
    return ApiError(500, "internal error; see the service's log", "internal_error")


_ANSWERS: tuple[tuple[type[BaseException], int, str], ...] = (
    (UnknownStreamError, 404, "stream_not_found"),
    (UnknownAlertError, 404, "alert_not_found"),
    (StreamExistsError, 409, "stream_exists"),
    (ConfiguredError, 409, "configured"),
    (BusyError, 429, "busy"),
    (QuestionError, 400, "question_invalid"),
    (SourceError, 422, "source_invalid"),
    (SettingsError, 400, "setting_invalid"),
    (VStreamError, 400, "request_invalid"),
    (FingerprintMismatchError, 409, "stream_made_otherwise"),
    (PolicyError, 409, "policy_not_fit"),
    (StoreAwayError, 503, "store_away"),
    (KVMemoryError, 503, "store_failed"),
    (CancelledError, 503, "cancelled"),
    (ClientDisconnect, 400, "body_incomplete"),
)


async def refuse(refusal: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request or a WebSocket without reading its body."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": str(refusal)[:120]})
        return
    headers = {**refusal.headers, "Connection": "close"}
    await JSONResponse(refusal.body, refusal.status, headers)(scope, receive, send)


def answer_errors(app: FastAPI) -> None:
    async def answer(request: Request, error: Exception) -> JSONResponse:
        shown = api_error(error)
        return JSONResponse(shown.body, shown.status, shown.headers)

    async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return await answer(request, invalid_value(error.errors()))

    async def answer_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        status = error.status_code
        shown = ApiError(status, str(error.detail), _HTTP_CODES.get(status, "http_error"))
        headers = dict(error.headers or {})
        path = getattr(request.scope.get("route"), "path_format", None)
        if status == 405 and (methods := app.openapi()["paths"].get(path)):
            # Starlette lists one route's methods; this path has a route for each method.
            headers["Allow"] = ", ".join(sorted(methods)).upper()
        return JSONResponse(shown.body, shown.status, headers)

    for kind in (
        ApiError,
        VStreamError,
        KVMemoryError,
        CancelledError,
        ClientDisconnect,
        Exception,
    ):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)


_PLACES = frozenset({"body", "query", "path", "header"})
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
"""OpenAI's error types, by status."""
_HTTP_CODES = {
    400: "invalid_request",
    403: "host_refused",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}
