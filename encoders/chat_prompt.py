"""ChatPrompt: renders a checkpoint's chat template into the text before and after a stream's
frames.

The template is rendered with slots for everything that was typed, and cut at the video. The part
before is the prefix of every stream; the part after, with the slots filled, is a question. The
video is in the first user message, so a dialogue lies between it and the question.

A template's own text may contain special tokens; typed text may not, whatever it looks like:
"<|im_end|>" in a question is tokenized letter by letter. Between special tokens, template and typed
words are tokenized together, so without such strings the ids equal those of the whole prompt.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from jinja2 import TemplateError
from tokenizers import Tokenizer
from torch import Tensor

from encoders.errors import UnsupportedModelError
from encoders.tokens import TextTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Private-use characters, which no template contains.
_SLOT = "\ue000{}\ue001"
_SLOTS = re.compile("\ue000(\\d+)\ue001")
_SYSTEM_SLOT = "\ue003"
VIDEO_SLOT = "\ue002"
"""Marks the video in families that spell its frames out as text."""
_LOOKS_LIKE_MARKUP = re.compile(r"<.*>", re.DOTALL)


@dataclass(frozen=True)
class Turn:
    """One finished question and answer of a dialogue, kept for a follow-up question."""

    question: str
    answer: str


@dataclass(frozen=True)
class VideoPlace:
    """How a family's template shows the video, and what the family writes around its frames. With
    `item` None the template takes only text, in which `marker` marks the stream.
    """

    marker: str
    item: dict[str, str] | None = field(default_factory=lambda: {"type": "video"})
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Piece:
    """A part of a prompt. `is_markup`: it comes from the template, and its special tokens count."""

    text: str
    is_markup: bool = True
    is_question: bool = False


@dataclass(frozen=True)
class PromptTokens:
    """Token ids; `is_question` says which hold a character of a question piece."""

    ids: list[int]
    is_question: list[bool]


class PromptTokenizer:
    """A checkpoint's tokenizer, with and without its special tokens."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        self._markup_ids: dict[str, int] = {}
        for token in spec["added_tokens"]:
            # Qwen's "<tool_call>" and the like are added tokens, but not marked special.
            if token["special"] or _LOOKS_LIKE_MARKUP.fullmatch(token["content"]):
                token["special"] = True
                self._markup_ids[token["content"]] = token["id"]
        self._plain = Tokenizer.from_str(json.dumps(spec))
        self._plain.encode_special_tokens = True  # as plain text
        longest_first = sorted(self._markup_ids, key=len, reverse=True)
        self._markup = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def encode(self, pieces: Iterable[Piece]) -> PromptTokens:
        """Tokenize a prompt without adding tokens at its start or end."""
        tokens = PromptTokens([], [])
        parts = (part for piece in pieces for part in self._split(piece))
        for is_special, run in groupby(
            parts, lambda part: part.is_markup and part.text in self._markup_ids
        ):
            if is_special:
                ids = [self._markup_ids[part.text] for part in run]
                tokens.ids.extend(ids)
                tokens.is_question.extend([False] * len(ids))
            else:
                self._append_plain(tokens, list(run))
        return tokens

    def _split(self, piece: Piece) -> Sequence[Piece]:
        if not piece.is_markup:
            return [piece]
        return [Piece(text) for text in self._markup.split(piece.text) if text]

    def _append_plain(self, tokens: PromptTokens, run: Sequence[Piece]) -> None:
        # A lone surrogate (JSON can carry one) has no UTF-8; each becomes one question mark.
        text = "".join(piece.text for piece in run).encode("utf-8", "replace").decode("utf-8")
        own = [piece.is_question for piece in run for _ in piece.text]
        encoding = self._plain.encode(text, add_special_tokens=False)
        tokens.ids.extend(encoding.ids)
        tokens.is_question.extend(any(own[start:end]) for start, end in encoding.offsets)


class ChatPrompt:
    """The text side of a family. Stateless except for the tokenizer and the word embeddings."""

    def __init__(
        self, model: "PreTrainedModel", directory: Path, place: VideoPlace, system: str = ""
    ) -> None:
        """`system` is a system prompt; "" keeps the template's own, if any. Raises
        UnsupportedModelError for a checkpoint without a suitable chat template.
        """
        from transformers import AutoTokenizer  # seconds: only where a model is loaded

        self._directory = directory
        self._place = place
        self._system = system
        self._word_embeddings: Any = model.get_input_embeddings()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        if not self._tokenizer.get_vocab().keys() - self._tokenizer.get_added_vocab().keys():
            raise UnsupportedModelError(f"{directory} has no tokenizer: wanted tokenizer.json")
        self._template = _json_template(directory)
        if self._template is None and not self._tokenizer.chat_template:
            raise UnsupportedModelError(
                f"{directory} has no chat template: wanted chat_template.jinja, "
                "chat_template.json, or chat_template in tokenizer_config.json"
            )
        self._prompt_tokenizer = PromptTokenizer(self._tokenizer)
        self._prefix = self._system_filled(self._render(1)[0] + place.before)
        self.stop_ids = self._read_stop_ids()
        self.vocabulary_size = 1 + max(self._tokenizer.get_vocab().values())

    def prefix(self) -> TextTokens:
        """Return everything before the first block."""
        return self._text_tokens(self._prompt_tokenizer.encode(self._prefix))

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        """Return everything after the last block, up to where the answer starts or continues."""
        said = [words for turn in dialogue for words in (turn.question, turn.answer)]
        typed = [Piece(words, is_markup=False) for words in said]
        typed.append(Piece(question, is_markup=False, is_question=True))
        known = [Piece(f"{context}\n", is_markup=False)] if context else []
        # The split has template text at even places, slot numbers at odd ones.
        parts = _SLOTS.split(self._place.after + self._render(len(dialogue) + 1)[1])
        pieces: list[Piece] = []
        for i, part in enumerate(parts):
            if i % 2 and int(part) == len(said):
                pieces += known  # right before the question, so the dialogue does not depend on it
            pieces.append(typed[int(part)] if i % 2 else Piece(part))
        if answer_start:
            pieces.append(Piece(self._before_answer + answer_start, is_markup=False))
        return self._text_tokens(self._prompt_tokenizer.encode(pieces))

    def tools_text(self, tools: Sequence[Mapping[str, Any]]) -> str:
        """Return what the template adds to a system prompt about tools, functions that the model
        may ask its caller to call, each as in OpenAI's `tools`. "" if it adds nothing there.

        Typed text, like all that a request brings: "<tool_call>" in it is spelled out.
        """
        messages = [
            {"role": "system", "content": self._content(_SYSTEM_SLOT)},
            {"role": "user", "content": self._content("")},
        ]
        try:
            plain, told = self._rendered(messages), self._rendered(messages, tools=list(tools))
        except (TemplateError, TypeError):  # it wants other messages, or tools of another form
            return ""
        (before, _, after), (same, _, more) = (
            text.partition(_SYSTEM_SLOT) for text in (plain, told)
        )
        return more.removesuffix(after).strip() if same == before and more.endswith(after) else ""

    def embed(self, markup: str) -> Float[Tensor, "tokens d_model"]:
        """Embed text that a family weaves between frames, special tokens included."""
        return self._text_tokens(self._prompt_tokenizer.encode([Piece(markup)])).embeddings

    def token_ids(self, text: str) -> list[int]:
        """Tokenize text that somebody wrote, without special tokens."""
        return self._prompt_tokenizer.encode([Piece(text, is_markup=False)]).ids

    def text(self, token_ids: Sequence[int]) -> str:
        """Detokenize, without special tokens and without the space that starts an answer."""
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text.lstrip()

    def tokenizer_json(self) -> str:
        """Return the tokenizer as in tokenizer.json, with the tokens that only other files add."""
        return str(self._tokenizer.backend_tokenizer.to_str())

    def first_tokens(self, words: Sequence[str]) -> frozenset[int]:
        """Return ids that start an answer with one of `words`: with or without a space, yes, Yes or
        YES. Spellings of one token count, because the first piece of a longer one ("y") also starts
        other words; first pieces count only for a word without such a spelling.
        """
        return frozenset(token for word in words for token in self._openings(word))

    def _openings(self, word: str) -> set[int]:
        spellings = {
            space + spelled
            for space in ("", " ")
            for spelled in (word, word.lower(), word.capitalize(), word.upper())
        }
        pieces = [Piece(spelling, is_markup=False) for spelling in spellings]
        runs = [self._prompt_tokenizer.encode([piece]).ids for piece in pieces]
        whole = {run[0] for run in runs if len(run) == 1}
        return whole or {run[0] for run in runs}

    @cached_property
    def _before_answer(self) -> str:
        """What the template puts before a finished answer: in some, a space."""
        begins = _SLOTS.split(self._render(1)[1])[2]
        finished = _SLOTS.split(self._render(2)[1])[2]
        return finished.removeprefix(begins) if finished.startswith(begins) else ""

    def _system_filled(self, prefix: str) -> list[Piece]:
        if not self._system:
            return [Piece(prefix)]
        parts = prefix.split(_SYSTEM_SLOT)
        if len(parts) != 2:
            raise UnsupportedModelError(
                f"the chat template of {self._directory} shows a system prompt {len(parts) - 1} "
                "times before the video: wanted once"
            )
        return [Piece(parts[0]), Piece(self._system, is_markup=False), Piece(parts[1])]

    def _render(self, num_questions: int) -> tuple[str, str]:
        """Render the template around `num_questions` slots, cut at the video."""
        messages = []
        for number in range(2 * num_questions - 1):
            content = self._content(_SLOT.format(number), shows_video=not number)
            messages.append({"role": ("user", "assistant")[number % 2], "content": content})
        if self._system:
            messages.insert(0, {"role": "system", "content": self._content(_SYSTEM_SLOT)})
        cut = self._rendered(messages, add_generation_prompt=True).split(self._place.marker)
        if len(cut) != 2:
            raise UnsupportedModelError(
                f"the chat template of {self._directory} shows a video as {self._place.marker!r} "
                f"{len(cut) - 1} times: wanted once"
            )
        return cut[0], cut[1]

    def _rendered(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> str:
        rendered: str = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, tokenize=False, **more
        )
        return rendered

    def _content(self, text: str, shows_video: bool = False) -> Any:
        if self._place.item is None:
            return self._place.marker * shows_video + text
        return [self._place.item] * shows_video + [{"type": "text", "text": text}]

    def _text_tokens(self, tokens: PromptTokens) -> TextTokens:
        device = self._word_embeddings.weight.device
        ids = torch.tensor(tokens.ids, device=device)
        with torch.no_grad():
            embeddings = self._word_embeddings(ids)
        return TextTokens(embeddings, torch.tensor(tokens.is_question, device=device), ids)

    def _read_stop_ids(self) -> frozenset[int]:
        """Return ids that end an answer, from the checkpoint: a model's defaults may be wrong."""
        path = self._directory / "generation_config.json"
        settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        written = settings.get("eos_token_id")
        ids = written if isinstance(written, list) else [written]
        return frozenset(i for i in (*ids, self._tokenizer.eos_token_id) if i is not None)


def _json_template(directory: Path) -> str | None:
    """Return the template of an older checkpoint, which transformers' tokenizers ignore."""
    path = directory / "chat_template.json"
    if (directory / "chat_template.jinja").is_file() or not path.is_file():
        return None
    template: str = json.loads(path.read_text("utf-8"))["chat_template"]
    return template
