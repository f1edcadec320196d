"""API errors: whatever went wrong in, an HTTP status and an error body in OpenAI's shape out."""

from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from memory import FingerprintMismatchError, KVMemoryError, StoreAwayError
from vstream.errors import BusyError, QuestionError, SettingsError, SourceError, VStreamError
from vstream.service.errors import StreamExistsError, UnknownStreamError, UnknownWatchError

_log = structlog.get_logger()
RETRY_AFTER_S = 1


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
    """An answer to a request that cannot be done."""

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
        self.detail = ErrorDetail(message=message, type=_type_of(status), param=param, code=code)
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        return ErrorBody(error=self.detail).model_dump()


DOCUMENTED: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": text}
    for status, text in {
        400: "The request does not make sense.",
        401: "No valid key was given.",
        403: "The key is not good for this.",
        404: "There is no such thing, or not for this key.",
        405: "The method is not allowed.",
        409: "It stands against what is there.",
        413: "The body is too large.",
        415: "The body is of the wrong kind.",
        422: "A value is of the wrong kind or out of bounds.",
        429: "Too much at once: try again after Retry-After seconds.",
        503: "Not ready, or the store is away.",
    }.items()
}
"""Of every route, for its documentation."""


def api_error(error: BaseException) -> ApiError:
    """The answer to `error`; for what nobody expected, one that gives nothing away."""
    for kind, status, code in _ANSWERS:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
            own = error.code if isinstance(error, SourceError) else code
            return ApiError(status, str(error) or code, own, headers=headers)
    _log.error("request failed", exc_info=error)
    return ApiError(500, "something went wrong here; the log has more", "internal_error")


_ANSWERS: tuple[tuple[type[BaseException], int, str], ...] = (
    (UnknownStreamError, 404, "stream_not_found"),
    (UnknownWatchError, 404, "watch_not_found"),
    (StreamExistsError, 409, "stream_exists"),
    (BusyError, 429, "busy"),
    (QuestionError, 400, "question_invalid"),
    (SourceError, 422, "source_invalid"),
    (SettingsError, 400, "setting_invalid"),
    (VStreamError, 400, "request_invalid"),
    (FingerprintMismatchError, 409, "stream_made_otherwise"),
    (StoreAwayError, 503, "store_away"),
    (KVMemoryError, 503, "store_failed"),
    (CancelledError, 503, "cancelled"),
)


def answer_errors(app: FastAPI) -> None:
    """Have every error of `app` answered in this shape."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        told = error if isinstance(error, ApiError) else api_error(error)
        return JSONResponse(told.body, told.status, told.headers)

    async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return await answer(request, ApiError(422, message, "invalid_value", param=where or None))

    async def answer_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        told = ApiError(
            error.status_code, str(error.detail), _HTTP_CODES.get(error.status_code, "http_error")
        )
        return JSONResponse(told.body, told.status, error.headers)

    for kind in (ApiError, VStreamError, KVMemoryError, CancelledError, Exception):
        app.add_exception_handler(kind, answer)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)


_HTTP_CODES = {
    400: "invalid_request",
    403: "host_refused",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}


def _type_of(status: int) -> str:
    """OpenAI's names."""
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    if status == 404:
        return "not_found_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"
