"""EndpointJudge asks a model behind OpenAI's API, LocalJudge a language model on this machine."""

from pathlib import Path
from typing import Any

import httpx
import torch
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from eval.question_sets.judging import MAX_REPLY_TOKENS, Judge, JudgePrompt, JudgeReply
from vstream import ModelError, SettingsError
from vstream.models.weight_files import checkpoint_fingerprint

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
            "messages": prompt.messages(),
            "temperature": 0,
            "max_tokens": MAX_REPLY_TOKENS,
        }
        try:
            document = self._retrying(self._post, body)
            text = document["choices"][0]["message"]["content"]
        except httpx.HTTPStatusError as error:
            raise ModelError(
                f"judge: {error.request.url} answered {error.response.status_code} "
                f"({error.response.text[:200]}); check --judge, --judge-url and the key"
            ) from error
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ModelError(f"judge: no reply of {self._http.base_url} ({error!r})") from error
        marks = (document.get("model"), document.get("system_fingerprint"))
        return JudgeReply(text or "", " ".join(str(mark) for mark in marks if mark))

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


class LocalJudge:
    """A checkpoint with a chat template; greedy, so that it says the same to the same."""

    num_parallel = 1
    num_attempts = 1

    def __init__(
        self, directory: Path, device: str = "cpu", max_reply_tokens: int = MAX_REPLY_TOKENS
    ) -> None:
        """Raises ModelError if it cannot be loaded. Nothing is downloaded."""
        from transformers import AutoModelForCausalLM, AutoTokenizer  # seconds

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(directory, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(
                directory, dtype="auto", local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise ModelError(f"judge: {directory} cannot be loaded ({error})") from error
        if not tokenizer.chat_template:
            raise ModelError(f"judge: {directory} has no chat template; choose an instruct model")
        self._tokenizer = tokenizer
        self._model = model.to(device).eval()
        self._max_reply_tokens = max_reply_tokens
        self._version = checkpoint_fingerprint(directory)
        self.name = directory.resolve().name
        self.settings = (
            f"weights={self._version} dtype={model.dtype} greedy max_tokens={max_reply_tokens}"
        )

    @torch.inference_mode()
    def reply(self, prompt: JudgePrompt) -> JudgeReply:
        inputs = self._tokenizer.apply_chat_template(
            prompt.messages(), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(self._model.device)
        output = self._model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=self._max_reply_tokens,
            pad_token_id=self._tokenizer.eos_token_id,
        )
        own = output[0, inputs["input_ids"].shape[1] :]
        return JudgeReply(self._tokenizer.decode(own, skip_special_tokens=True), self._version)


def judge_named(name: str, url: str | None, key: str | None) -> Judge:
    """The model of that name at the URL, else the checkpoint in that folder.

    Raises SettingsError for what is neither.
    """
    if url is not None:
        return EndpointJudge(name, url, key)
    if Path(name).is_dir():
        return LocalJudge(Path(name), "cuda" if torch.cuda.is_available() else "cpu")
    raise SettingsError(
        f"judge: {name} is no folder with a checkpoint; give --judge-url if a server has it"
    )
