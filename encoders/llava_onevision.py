"""LlavaOneVision: a frame in, its pooled SigLIP features out; one frame is one block.

Source: LLaVA-OneVision (https://arxiv.org/abs/2408.03326); 196 tokens a frame at the published
size. `image_newline` ends a video: a stream has no end, so it opens the question.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from encoders.chat_prompt import ChatPrompt, VideoPlace
from encoders.family import Recommended, Turn
from encoders.frame import Frame
from encoders.image_transform import ImageTransform
from encoders.preprocessor_config import PreprocessorConfig
from encoders.visual_tokens import TextTokens, VisualTokens, one_frame_block

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LlavaOneVision:
    """LLaVA-OneVision checkpoints in the layout of transformers."""

    name = "llava_onevision"
    frames_per_block = 1
    recommended = Recommended()

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        """`sample_fps` is not used: the model is not told how far apart frames are."""
        config = PreprocessorConfig.read(directory)
        self._model: Any = model
        self._size = (config.edge("height"), config.edge("width"))
        self._transform = ImageTransform(config, model.device)
        vision = model.config.vision_config
        self._tokens_per_frame = math.ceil(vision.image_size // vision.patch_size / 2) ** 2
        self._chat = ChatPrompt(
            model, directory, VideoPlace(item={"type": "video"}, marker="<video>"), system
        )
        self.stop_ids = self._chat.stop_ids
        self.vocabulary_size = self._chat.vocabulary_size

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """One pass of the tower; see `Family.encode`."""
        pixels = torch.stack(
            [self._transform(frame.pixels, [self._size]) for (frame,) in groups]
        ).to(self._model.dtype)
        features = self._model.get_video_features(pixels[None]).pooler_output[0]
        # Newer releases of transformers append image_newline here, older ones later.
        tokens = self._tokens_per_frame
        per_frame = features[: tokens * len(groups)].reshape(len(groups), tokens, -1)
        all_visual = torch.ones(tokens, dtype=torch.bool, device=per_frame.device)
        return [
            one_frame_block(frame, embeddings, all_visual)
            for (frame,), embeddings in zip(groups, per_frame, strict=True)
        ]

    def prefix(self) -> TextTokens:
        return self._chat.prefix()

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        """The question behind `image_newline`; see `Family.question`."""
        text = self._chat.question(question, dialogue, context, answer_start)
        newline = self._model.model.image_newline.detach()[None]
        return TextTokens(
            torch.cat([newline.to(text.embeddings), text.embeddings]),
            torch.cat([torch.zeros_like(text.is_question[:1]), text.is_question]),
        )

    def text(self, token_ids: Sequence[int]) -> str:
        return self._chat.text(token_ids)

    def first_tokens(self, words: Sequence[str]) -> frozenset[int]:
        return self._chat.first_tokens(words)

    def tokenizer_json(self) -> str:
        return self._chat.tokenizer_json()
