"""Text: encodes the tokens of a text stream as their word embeddings; 32 tokens are one block.

For decoders without a vision tower, so that a memory policy can be measured on trained weights of
any size. A frame is one token here, and settings in frames count tokens.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from encoders.chat_prompt import VIDEO_SLOT, VideoPlace
from encoders.errors import EncoderError
from encoders.families.family import Family
from encoders.frame import NO_PICTURE, Frame, TextToken
from encoders.recommended import TEXT
from encoders.tokens import VisualTokens


class Text(Family):
    """Checkpoints of text-only decoders whose config.json says `"vstream_family": "text"`."""

    name = "text"
    place = VideoPlace(VIDEO_SLOT, None, after="\n\n")
    frames_per_block = 32
    recommended = TEXT

    def read_preprocessing(self, directory: Path) -> None:
        """Do nothing: there is no preprocessing."""

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode tokens. Raises EncoderError for pictures; see `Family.encode`."""
        return [self._block(group) for group in groups]

    def _block(self, group: Sequence[Frame]) -> VisualTokens:
        tokens = [frame for frame in group if isinstance(frame, TextToken)]
        if len(tokens) < len(group):
            raise EncoderError(
                "this model reads text and no pictures: take a Video-LLM, or `push_text`"
            )
        ids = torch.tensor([token.token_id for token in tokens], device=self.model.device)
        return VisualTokens(
            embeddings=self.model.get_input_embeddings()(ids),
            positions=torch.arange(len(ids))[None],
            advance=torch.tensor([len(ids)]),
            is_visual=torch.ones_like(ids, dtype=torch.bool),
            start_s=tokens[0].stream_s,
            end_s=tokens[-1].stream_s,
        )

    def blank(self, stream_s: float) -> TextToken:
        return TextToken(NO_PICTURE, stream_s, 0.0, token_id=0)

    def token_ids(self, text: str) -> list[int]:
        return self.chat.token_ids(text)
