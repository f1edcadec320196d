"""Judging: a language model says whether an answer is right, and rates it from 0 to 5.

Source: the judge of Video-ChatGPT, as VStream-QA uses it: the prompt, temperature 0 and 300 tokens
of github.com/Becomebright/ReKV at 63793f7, video_qa/eval/eval_open_ended.py; the prompt is
identical in github.com/IVGSZ/Flash-VStream at 8f6bde2. Both read a reply as a Python literal; so
does `read_judgement`. After a bad reply both ask again, one without end, the other up to a hundred
times before it leaves the question out.
"""

import ast
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import torch
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from eval.question_sets.published import published
from eval.run.run_directory import RecordFile
from vstream import ModelError, SettingsError
from vstream.models.weight_files import checkpoint_fingerprint

MAX_REPLY_TOKENS = 300

Messages = list[dict[str, str]]
"""As chat templates and servers take them."""


@dataclass(frozen=True)
class JudgeReply:
    """What a judge said; `version` is its own statement, or the fingerprint of its weights."""

    text: str
    version: str


@dataclass(frozen=True)
class Judgement:
    """`is_yes` is None if the reply says neither yes nor no."""

    is_yes: bool | None
    rating: int


class Judge(Protocol):
    """Called from `num_parallel` threads at once. `settings` are everything its replies depend on
    besides its name. A bad reply is requested `num_attempts` times; once if it would be the same.
    """

    name: str
    settings: str
    num_parallel: int
    num_attempts: int

    def reply(self, prompt: Messages) -> JudgeReply: ...


def judge_prompt(question: str, answer: str, given: str) -> Messages:
    """Return the prompt as published."""
    user = published("judge_user", question, answer, given)
    return [
        {"role": "system", "content": published("judge_system")},
        {"role": "user", "content": user},
    ]


def read_judgement(reply: str) -> Judgement | None:
    """Return None if it is not the requested literal. Like ReKV, accept "prev" for "pred"."""
    try:
        document = ast.literal_eval(reply)
        verdict = document["pred"] if "pred" in document else document["prev"]
        said, rating = verdict.lower(), int(document["score"])
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    except (MemoryError, RecursionError):  # raised by ast.literal_eval for deep nesting
        return None
    return Judgement(True if "yes" in said else False if "no" in said else None, rating)


@dataclass(frozen=True)
class Judged:
    """`judgement` is None if no reply could be read; `reply` is the last one."""

    judgement: Judgement | None
    reply: JudgeReply

    @property
    def label(self) -> str:
        if self.judgement is None:
            return "unreadable"
        return {True: "yes", False: "no", None: "neither"}[self.judgement.is_yes]


class Judging:
    """One judge and the file of its replies, for several threads. A reply is found again by the
    hash of the judge's name and settings, the whole prompt and the attempt's number.
    """

    def __init__(self, judge: Judge, file: Path) -> None:
        """`file` holds JSON lines, may be shared by judges and is created if missing."""
        self.judge = judge
        self._file = RecordFile(file)
        self._replies = {
            document["key"]: JudgeReply(document["text"], document["version"])
            for document in self._file.documents
        }
        self._versions: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def versions(self) -> dict[str, int]:
        """The versions that judged, and the number of judgements of each."""
        return dict(self._versions.most_common())

    def document(self) -> dict[str, object]:
        """Return who judged, to report beside every resulting number."""
        judge = self.judge
        return {"name": judge.name, "versions": self.versions, "settings": judge.settings}

    def judge_answer(self, question: str, answer: str, given: str) -> Judged:
        """Judge; ask again after unreadable replies, as often as the judge allows."""
        prompt = judge_prompt(question, answer, given)
        for attempt in range(self.judge.num_attempts):
            reply = self._reply(prompt, attempt)
            judgement = read_judgement(reply.text)
            if judgement is not None:
                break
        with self._lock:
            self._versions[reply.version] += 1
        return Judged(judgement, reply)

    def _reply(self, prompt: Messages, attempt: int) -> JudgeReply:
        said = [message["content"] for message in prompt]
        question = [self.judge.name, self.judge.settings, *said, attempt]
        key = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        with self._lock:
            known = self._replies.get(key)
        if known is not None:
            return known
        reply = self.judge.reply(prompt)
        made_by = {"judge": self.judge.name, "settings": self.judge.settings}
        with self._lock:
            self._replies[key] = reply
            self._file.append({"key": key, **made_by, **asdict(reply)})
        return reply


def agreement(first: Sequence[str], second: Sequence[str]) -> dict[str, float | None]:
    """Return how far two judges agree, from their labels in the same order; at least one. `agreed`
    is a share of 1.

    Source: Cohen, A Coefficient of Agreement for Nominal Scales (1960). With p the share on which
    they agree and e the share expected by chance from how often each says what, kappa = (p - e) /
    (1 - e). If both always say the same one thing, there is no kappa.
    """
    pairs = list(zip(first, second, strict=True))
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    counts = Counter(first), Counter(second)
    by_chance = sum(counts[0][label] * counts[1][label] for label in counts[0]) / len(pairs) ** 2
    kappa = None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
    return {"num_answers": len(pairs), "agreed": agreed, "kappa": kappa}


TIMEOUT_S = 120.0
_BUSY = (408, 429, 500, 502, 503, 504)


class EndpointJudge:
    """Any server with `/chat/completions`; `version` is the model it says it used."""

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

    def reply(self, prompt: Messages) -> JudgeReply:
        """Raises ModelError if the server refuses, or stays unreachable."""
        body = {
            "model": self.name,
            "messages": prompt,
            "temperature": 0,
            "max_tokens": MAX_REPLY_TOKENS,
        }
        try:
            document = self._retrying(
                lambda: self._http.post("chat/completions", json=body).raise_for_status().json()
            )
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


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in _BUSY
    return isinstance(error, httpx.TransportError)


class LocalJudge:
    """A checkpoint with a chat template; greedy, so equal prompts get equal replies."""

    num_parallel = 1
    num_attempts = 1

    def __init__(
        self, directory: Path, device: str = "cpu", max_reply_tokens: int = MAX_REPLY_TOKENS
    ) -> None:
        """Raises ModelError if it cannot be loaded. Downloads nothing."""
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
    def reply(self, prompt: Messages) -> JudgeReply:
        inputs = self._tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
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
    """Return the model of that name at the URL, else the checkpoint there. Raises SettingsError."""
    if url is not None:
        return EndpointJudge(name, url, key)
    if Path(name).is_dir():
        return LocalJudge(Path(name), "cuda" if torch.cuda.is_available() else "cpu")
    raise SettingsError(
        f"judge: {name} is no folder with a checkpoint; give --judge-url if a server has it"
    )
