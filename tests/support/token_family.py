"""A family without a vision tower: a frame becomes a few token ids that depend on its pixels."""

import torch
from tokenizers import Tokenizer, decoders, models

from encoders import Family, Recommended, TextTokens, VisualTokens


class TokenFamily:
    """Drives text-only decoders through the engine. Letters of a question are its tokens."""

    name = "tokens"
    frames_per_block = 1
    recommended = Recommended(window_frames=8, window_stride=4, recent_frames=3, retrieve_blocks=4)
    stop_ids = frozenset({2})
    blank = Family.blank
    checks = Family.checks

    def __init__(self, embed, vocabulary, tokens_per_frame=5):
        self._embed = embed
        self._vocabulary = self.vocabulary_size = vocabulary
        self._tokens = tokens_per_frame

    def encode(self, groups):
        return [self._block(frame) for (frame,) in groups]

    def _block(self, frame):
        start = int(frame.pixels.astype("int64").sum()) * 7
        ids = [(start + 31 * i * (1 + start % 5)) % self._vocabulary for i in range(self._tokens)]
        return VisualTokens(
            embeddings=self._embed(torch.tensor(ids)),
            positions=torch.arange(self._tokens)[None],
            advance=torch.tensor([self._tokens]),
            is_visual=torch.ones(self._tokens, dtype=torch.bool),
            start_s=frame.stream_s,
            end_s=frame.stream_s,
        )

    def _text(self, ids, is_question):
        mask = torch.full((len(ids),), is_question)
        return TextTokens(self._embed(torch.tensor(ids)), mask)

    def prefix(self):
        return self._text([3, 14, 15, 9, 26], False)

    def question(self, question, dialogue=(), context="", answer_start=""):
        said = "".join(turn.question + turn.answer for turn in dialogue) + context
        ids = [ord(letter) % self._vocabulary for letter in said + question]
        own = torch.arange(len(ids) + 2) >= len(said)
        own[-2:] = False
        started = [ord(letter) % self._vocabulary for letter in answer_start]
        own = torch.cat([own, torch.zeros(len(started), dtype=torch.bool)])
        whole = torch.tensor([*ids, 5, 6, *started])
        return TextTokens(self._embed(whole), own, whole)

    def text(self, token_ids):
        return " ".join(str(i) for i in token_ids)

    def first_tokens(self, words):
        return frozenset(ord(word[0]) % self._vocabulary for word in words)

    def tokenizer_json(self):
        """Token 7 is written "7": there is no brace and no quote."""
        tokenizer = Tokenizer(models.BPE({str(i): i for i in range(self._vocabulary)}, []))
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer.to_str()
