"""EndpointJudge: a judge's prompt in, the reply of a model behind OpenAI's API out."""

from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from eval.question_sets.judge import MAX_REPLY_TOKENS, JudgePrompt, JudgeReply
from vstream import ModelError

TIMEOUT_S = 120.0
_BUSY = (408, 429, 500, 502, 503, 504)


class EndpointJudge:
    """Any server that has `/chat/completions`; `version` is the model that it says it used."""

    num_parallel = 8
    num_attempts = 5

    def __init__(
        self, model: str, url: str, key: str | None = None, longest_wait_s: float = 30.0
    ) -> None:
        """`url` ends before `/chat/completions`; `key` is sent as a bearer token."""
        self.name = model
        self.settings = f"url={url} temperature=0 max_tokens={MAX_REPLY_TOKENS}"
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S)
        self._retrying = Retrying(
            retry=retry_if_exception(_is_passing),
            stop=stop_after_attempt(6),
            wait=wait_exponential(max=longest_wait_s),
            reraise=True,
        )

    def reply(self, prompt: JudgePrompt) -> JudgeReply:
        """Raises ModelError if the server refuses, or stays out of reach."""
        body = {
            "model": self.name,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": prompt.user},
            ],
            "temperature": 0,
            "max_tokens": MAX_REPLY_TOKENS,
        }
        try:
            document = self._retrying(self._post, body)
            said = document["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise ModelError(
                f"judge: {error.request.url} answered {error.response.status_code} "
                f"({error.response.text[:200]}); check --judge, --judge-url and the key"
            ) from error
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelError(f"judge: no reply of {self._http.base_url} ({error!r})") from error
        marks = [
            str(document[name]) for name in ("model", "system_fingerprint") if document.get(name)
        ]
        return JudgeReply(said or "", " ".join(marks))

    def _post(self, body: dict[str, object]) -> dict[str, Any]:
        response = self._http.post("chat/completions", json=body)
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document


def _is_passing(error: BaseException) -> bool:
    """Whether to try again."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.TransportError)
