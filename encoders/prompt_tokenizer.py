"""PromptTokenizer: pieces of a prompt in, token ids out; words of users never become markup.

A template's own text may hold special tokens; what a user typed may not, whatever it looks like:
"<|im_end|>" in a question is tokenized letter by letter. Between special tokens, template and
words are tokenized together, so that without such strings the ids are those of the whole prompt.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LOOKS_LIKE_MARKUP = re.compile(r"<.*>", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A part of a prompt. `is_markup`: from the template, special tokens count."""

    text: str
    is_markup: bool = True
    is_question: bool = False


@dataclass(frozen=True)
class PromptTokens:
    """Token ids; `is_question` says which hold a character of a piece marked so."""

    ids: list[int]
    is_question: list[bool]


class PromptTokenizer:
    """A checkpoint's tokenizer, once with and once without its special tokens."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        self._markup_ids: dict[str, int] = {}
        for token in spec["added_tokens"]:
            # Qwen's "<tool_call>" and its like are added tokens, but not called special.
            if token["special"] or _LOOKS_LIKE_MARKUP.fullmatch(token["content"]):
                token["special"] = True
                self._markup_ids[token["content"]] = token["id"]
        self._plain = Tokenizer.from_str(json.dumps(spec))
        self._plain.encode_special_tokens = True  # as plain text, that is
        longest_first = sorted(self._markup_ids, key=len, reverse=True)
        self._markup = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def encode(self, pieces: Iterable[Piece]) -> PromptTokens:
        """Tokenize a prompt; nothing is added at its start or end."""
        tokens = PromptTokens([], [])
        run: list[Piece] = []
        for part in self._split(pieces):
            if part.is_markup and part.text in self._markup_ids:
                self._append_plain(tokens, run)
                run = []
                tokens.ids.append(self._markup_ids[part.text])
                tokens.is_question.append(False)
            else:
                run.append(part)
        self._append_plain(tokens, run)
        return tokens

    def _split(self, pieces: Iterable[Piece]) -> Iterable[Piece]:
        for piece in pieces:
            if piece.is_markup:
                yield from (Piece(text) for text in self._markup.split(piece.text) if text)
            else:
                yield piece

    def _append_plain(self, tokens: PromptTokens, run: Sequence[Piece]) -> None:
        text = "".join(piece.text for piece in run)
        own = [piece.is_question for piece in run for _ in piece.text]
        # A lone surrogate (JSON can carry one) has no UTF-8; each becomes one question mark.
        text = text.encode("utf-8", "replace").decode("utf-8")
        encoding = self._plain.encode(text, add_special_tokens=False)
        tokens.ids.extend(encoding.ids)
        tokens.is_question.extend(any(own[start:end]) for start, end in encoding.offsets)
