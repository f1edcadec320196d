"""PlainModel: a checkpoint and the frames of a stream in, answers by a plain forward pass out.

Every frame is attended to in full and nothing is compressed or retrieved: this is what the
weights can do, and what a memory has to live up to. It does not use the streaming engine.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from transformers import DynamicCache, SmolVLMForConditionalGeneration, TokenizersBackend

from eval.stream_world.vocabulary import clock
from eval.training.train import visual_tokens

MAX_ANSWER_TOKENS = 40
FRAMES_PER_PASS = 32


class PlainModel:
    """The weights, shared by all streams; float32 on the CPU."""

    def __init__(self, checkpoint: Path) -> None:
        self.tokenizer = TokenizersBackend.from_pretrained(checkpoint)
        self.model = SmolVLMForConditionalGeneration.from_pretrained(
            checkpoint, dtype=torch.float32
        )

    @torch.inference_mode()
    def frames(
        self, pictures: Sequence[UInt8[np.ndarray, "height width 3"]], times_s: Sequence[int]
    ) -> Float[Tensor, "frames tokens d_model"]:
        """Each frame as decoder input: its time in three tokens, then its visual tokens."""
        side_px = self.model.model.vision_model.embeddings.image_size
        pixels = torch.stack([_normalised(picture, side_px) for picture in pictures])
        visual = torch.cat(
            [visual_tokens(self.model, p) for p in torch.split(pixels, FRAMES_PER_PASS)]
        )
        times = torch.stack([self.embed(clock(time_s)) for time_s in times_s])
        return torch.cat([times, visual], dim=1)

    def embed(self, text: str) -> Float[Tensor, "tokens d_model"]:
        """Text as decoder input."""
        return self.embed_ids(self.tokenizer(text, add_special_tokens=False).input_ids)

    def embed_ids(self, token_ids: Sequence[int]) -> Float[Tensor, "tokens d_model"]:
        """Tokens as decoder input."""
        embedded: Tensor = self.model.model.text_model.embed_tokens(torch.tensor(token_ids))
        return embedded


class PlainSession:
    """One stream: what was watched stays in the cache, a question leaves nothing behind."""

    def __init__(self, weights: PlainModel) -> None:
        self._weights = weights
        self._cache = DynamicCache()
        self._forward(weights.embed("<|bos|>"))

    @torch.inference_mode()
    def watch(self, frames: Float[Tensor, "frames tokens d_model"]) -> None:
        """Take in more frames of the stream."""
        if len(frames):
            self._forward(frames.flatten(0, 1))

    @torch.inference_mode()
    def ask(self, question: str) -> str:
        """Answer from all that was watched so far, greedily."""
        watched = self._cache.get_seq_length()
        tokenizer = self._weights.tokenizer
        logits = self._forward(self._weights.embed(f"<|user|>{question}<|assistant|>"))
        answer: list[int] = []
        while len(answer) < MAX_ANSWER_TOKENS:
            token = int(logits.argmax())
            if token == tokenizer.eos_token_id:
                break
            answer.append(token)
            logits = self._forward(self._weights.embed_ids([token]))
        self._cache.crop(watched - self._cache.get_seq_length())  # negative: tokens to take back
        return str(tokenizer.decode(answer, skip_special_tokens=True)).strip()

    def _forward(self, embeddings: Float[Tensor, "tokens d_model"]) -> Float[Tensor, " words"]:
        """Append to the cache; the logits after the last token."""
        model = self._weights.model
        output = model.model.text_model(
            inputs_embeds=embeddings[None], past_key_values=self._cache, use_cache=True
        )
        logits: Tensor = model.lm_head(output.last_hidden_state[0, -1])
        return logits


def _normalised(
    picture: UInt8[np.ndarray, "height width 3"], side_px: int
) -> Float[Tensor, "3 side side"]:
    if picture.shape[:2] != (side_px, side_px):
        image = Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.BILINEAR)
        picture = np.asarray(image)
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1
