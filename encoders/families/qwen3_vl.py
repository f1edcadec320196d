"""Qwen3VL: encodes two frames as `<t seconds>` and the tokens of one temporal grid, one block.

Source: Qwen3-VL (https://arxiv.org/abs/2511.21631). Time is text, so all three rotary axes advance
together: past the text, and past the longer side of the grid. Blocks differ in length, because
their times have more or fewer digits. Blocks include features of earlier tower layers (DeepStack).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from encoders.chat_prompt import VideoPlace
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.recommended import Recommended
from encoders.temporal_grid import GridTransform, PixelLimits, woven_grid_positions
from encoders.tokens import VisualTokens, weave


class Qwen3VL(Family):
    name = "qwen3_vl"
    place = VideoPlace("<|vision_start|><|video_pad|><|vision_end|>")
    """Each grid brings its own markers instead of the template's."""
    recommended = Recommended(sample_fps=2.0)

    def prepare(self) -> None:
        vision, edge = self.model.config.vision_config, self.preprocessor.edge
        # This family's edges count pixels of a whole video; each grid is treated as one.
        frames = vision.temporal_patch_size
        limits = PixelLimits(edge("shortest_edge") // frames, edge("longest_edge") // frames)
        self._grid = GridTransform(self.transform, vision, limits)
        self.frames_per_block = self._grid.num_frames
        self._after_grid = self.chat.embed("<|vision_end|>")

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode in one pass of the tower, even grids of different sizes; see `Family.encode`."""
        grids = self._grid(groups)
        output = self.model.get_video_features(grids.patches, grids.shapes)
        # Newer releases of transformers split these by grid, older ones do not.
        deepstack = torch.stack(
            [f if isinstance(f, Tensor) else torch.cat(f) for f in output.deepstack_features]
        )
        counts = [rows * columns for rows, columns in grids.tokens]
        blocks = []
        for group, visual, (rows, columns), features in zip(
            groups, output.pooler_output, grids.tokens, deepstack.split(counts, dim=1), strict=True
        ):
            before = self.chat.embed(before_grid(group))
            embeddings, is_visual = weave(before, visual, self._after_grid)
            positions = woven_grid_positions(len(before), rows, columns)
            blocks.append(
                VisualTokens(
                    embeddings=embeddings,
                    positions=positions,
                    advance=positions[:, -1] + 1,
                    is_visual=is_visual,
                    start_s=group[0].stream_s,
                    end_s=group[-1].stream_s,
                    deepstack=features,
                )
            )
        return blocks


def before_grid(group: Sequence[Frame]) -> str:
    """Return the time halfway between a grid's first and last frame, and the start marker."""
    middle_s = (group[0].stream_s + group[-1].stream_s) / 2
    return f"<{middle_s:.1f} seconds><|vision_start|>"
