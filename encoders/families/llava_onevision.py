"""LlavaOneVision: encodes a frame as its pooled SigLIP features; one frame is one block.

Source: LLaVA-OneVision (https://arxiv.org/abs/2408.03326); 196 tokens a frame at the published
size. `image_newline` ends a video: a stream has no end, so it starts the question.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from encoders.chat_prompt import VideoPlace
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.tokens import TextTokens, VisualTokens, one_frame_block


class LlavaOneVision(Family):
    """LLaVA-OneVision checkpoints in the layout of transformers. The model knows no time."""

    name = "llava_onevision"
    place = VideoPlace("<video>")

    def prepare(self) -> None:
        self._size = (self.preprocessor.edge("height"), self.preprocessor.edge("width"))
        vision = self.model.config.vision_config
        self._tokens_per_frame = math.ceil(vision.image_size // vision.patch_size / 2) ** 2

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode in one pass of the tower; see `Family.encode`."""
        pixels = torch.stack([self.transform(frame.pixels, [self._size]) for (frame,) in groups])
        features = self.model.get_video_features(pixels[None].to(self.model.dtype)).pooler_output[0]
        # Newer releases of transformers append image_newline here, older ones later.
        tokens = self._tokens_per_frame
        per_frame = features[: tokens * len(groups)].reshape(len(groups), tokens, -1)
        all_visual = torch.ones(tokens, dtype=torch.bool, device=per_frame.device)
        return [
            one_frame_block(frame, embeddings, all_visual)
            for (frame,), embeddings in zip(groups, per_frame, strict=True)
        ]

    def question(self, *said: Any, **options: Any) -> TextTokens:
        """Put `image_newline` before the question; see `Family.question`."""
        text = super().question(*said, **options)
        newline = self.model.model.image_newline.detach()[None]
        return TextTokens(
            torch.cat([newline.to(text.embeddings), text.embeddings]),
            torch.cat([torch.zeros_like(text.is_question[:1]), text.is_question]),
            None if text.ids is None else torch.cat([torch.full_like(text.ids[:1], -1), text.ids]),
        )
