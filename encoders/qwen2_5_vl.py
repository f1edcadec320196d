"""Qwen25VL: two frames in, the visual tokens of one temporal grid out; one grid is one block.

Source: Qwen2.5-VL (https://arxiv.org/abs/2502.13923). Rotary positions have three axes; the time
axis runs with real time, so a block lies `tokens_per_second` times its seconds after the last.
Differs: these steps are whole numbers, at least 1, where transformers rounds each position down;
the same wherever `tokens_per_second` * `frames_per_block` / `sample_fps` is a whole number.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from encoders.chat_prompt import ChatPrompt, VideoPlace
from encoders.family import Recommended, Turn
from encoders.frame import Frame
from encoders.image_transform import ImageTransform
from encoders.preprocessor_config import PreprocessorConfig
from encoders.temporal_grid import GridTransform, PixelLimits, grid_positions
from encoders.visual_tokens import TextTokens, VisualTokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen25VL:
    """Qwen2.5-VL checkpoints."""

    name = "qwen2_5_vl"
    recommended = Recommended(sample_fps=2.0)

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        """`sample_fps` is the rate at which frames will come: it sets the pace of the time axis."""
        config = PreprocessorConfig.read(directory)
        vision_config = model.config.vision_config
        limits = PixelLimits(config.edge("shortest_edge"), config.edge("longest_edge"))
        self._model: Any = model
        self._grid = GridTransform(ImageTransform(config, model.device), vision_config, limits)
        self.frames_per_block = self._grid.num_frames
        self._merge: int = vision_config.spatial_merge_size
        seconds = self.frames_per_block / sample_fps
        self._time_step = max(1, round(vision_config.tokens_per_second * seconds))
        # <|vision_start|> before and <|vision_end|> after it are the template's own.
        place = VideoPlace(item={"type": "video"}, marker="<|video_pad|>")
        self._chat = ChatPrompt(model, directory, place, system)
        self.stop_ids = self._chat.stop_ids
        self.vocabulary_size = self._chat.vocabulary_size

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """One pass of the tower, also over grids of different sizes; see `Family.encode`."""
        grids = self._grid(groups)
        features = self._model.get_video_features(grids.patches, grids.shapes).pooler_output
        blocks = []
        for group, visual, shape in zip(groups, features, grids.shapes.tolist(), strict=True):
            blocks.append(
                VisualTokens(
                    embeddings=visual,
                    positions=grid_positions(shape[1] // self._merge, shape[2] // self._merge),
                    advance=torch.tensor([self._time_step, 0, 0]),
                    is_visual=torch.ones(len(visual), dtype=torch.bool, device=visual.device),
                    start_s=group[0].stream_s,
                    end_s=group[-1].stream_s,
                )
            )
        return blocks

    def prefix(self) -> TextTokens:
        return self._chat.prefix()

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        return self._chat.question(question, dialogue, context, answer_start)

    def text(self, token_ids: Sequence[int]) -> str:
        return self._chat.text(token_ids)

    def first_tokens(self, words: Sequence[str]) -> frozenset[int]:
        return self._chat.first_tokens(words)

    def tokenizer_json(self) -> str:
        return self._chat.tokenizer_json()
