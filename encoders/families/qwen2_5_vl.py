"""Qwen25VL: encodes two frames as the visual tokens of one temporal grid; one grid is one block.

Source: Qwen2.5-VL (https://arxiv.org/abs/2502.13923). Rotary positions have three axes; the time
axis follows real time, so a block lies `tokens_per_second` times its seconds after the last one.
Differs: these steps are whole numbers, at least 1, where transformers rounds each position down;
both agree if `tokens_per_second` * `frames_per_block` / `sample_fps` is a whole number.
"""

from collections.abc import Sequence

import torch

from encoders.chat_prompt import VideoPlace
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.recommended import Recommended
from encoders.temporal_grid import GridTransform, PixelLimits, grid_positions
from encoders.tokens import VisualTokens


class Qwen25VL(Family):
    name = "qwen2_5_vl"
    place = VideoPlace("<|video_pad|>")
    """The template itself adds <|vision_start|> before it and <|vision_end|> after it."""
    recommended = Recommended(sample_fps=2.0)

    def prepare(self) -> None:
        vision = self.model.config.vision_config
        edge = self.preprocessor.edge
        limits = PixelLimits(edge("shortest_edge"), edge("longest_edge"))
        self._grid = GridTransform(self.transform, vision, limits)
        self.frames_per_block = self._grid.num_frames
        seconds = self.frames_per_block / self.sample_fps
        self._time_step = max(1, round(vision.tokens_per_second * seconds))

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode in one pass of the tower, even grids of different sizes; see `Family.encode`."""
        grids = self._grid(groups)
        features = self.model.get_video_features(grids.patches, grids.shapes).pooler_output
        return [
            VisualTokens(
                embeddings=visual,
                positions=grid_positions(rows, columns),
                advance=torch.tensor([self._time_step, 0, 0]),
                is_visual=torch.ones(len(visual), dtype=torch.bool, device=visual.device),
                start_s=group[0].stream_s,
                end_s=group[-1].stream_s,
            )
            for group, visual, (rows, columns) in zip(groups, features, grids.tokens, strict=True)
        ]
