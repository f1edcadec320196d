"""Qwen3VL: two frames in, `<t seconds>` and the tokens of one temporal grid out; a grid is a block.

Source: Qwen3-VL (https://arxiv.org/abs/2511.21631). Time is text, so all three rotary axes advance
together: past the text, and past the longer side of the grid. Blocks differ in length, as their
times have more or fewer digits. Features of earlier layers of the tower (DeepStack) go along.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encoders.chat_prompt import ChatPrompt, VideoPlace
from encoders.family import Recommended, Turn
from encoders.frame import Frame
from encoders.image_transform import ImageTransform
from encoders.preprocessor_config import PreprocessorConfig
from encoders.temporal_grid import GridTransform, PixelLimits, grid_positions
from encoders.visual_tokens import TextTokens, VisualTokens
from encoders.woven_text import weave

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen3VL:
    """Qwen3-VL checkpoints."""

    name = "qwen3_vl"
    recommended = Recommended(sample_fps=2.0)

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        """`sample_fps` is not used: every grid carries its own time."""
        config = PreprocessorConfig.read(directory)
        vision_config = model.config.vision_config
        frames = vision_config.temporal_patch_size
        # This family's edges are pixels of a whole video; a grid is a video of one grid.
        limits = PixelLimits(
            config.edge("shortest_edge") // frames, config.edge("longest_edge") // frames
        )
        self._model: Any = model
        self._grid = GridTransform(ImageTransform(config, model.device), vision_config, limits)
        self.frames_per_block = self._grid.num_frames
        self._merge: int = vision_config.spatial_merge_size
        # Each grid has markers of its own in place of the template's.
        place = VideoPlace(
            item={"type": "video"}, marker="<|vision_start|><|video_pad|><|vision_end|>"
        )
        self._chat = ChatPrompt(model, directory, place, system)
        self._after_grid = self._chat.embed("<|vision_end|>")
        self.stop_ids = self._chat.stop_ids
        self.vocabulary_size = self._chat.vocabulary_size

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """One pass of the tower, also over grids of different sizes; see `Family.encode`."""
        grids = self._grid(groups)
        output = self._model.get_video_features(grids.patches, grids.shapes)
        counts = (grids.shapes.prod(dim=1) // self._merge**2).tolist()
        # Newer releases of transformers split these by grid, older ones do not.
        deepstack = torch.stack(
            [f if isinstance(f, Tensor) else torch.cat(f) for f in output.deepstack_features]
        )
        return [
            self._block(group, visual, shape, features)
            for group, visual, shape, features in zip(
                groups,
                output.pooler_output,
                grids.shapes.tolist(),
                torch.split(deepstack, counts, dim=1),
                strict=True,
            )
        ]

    def _block(
        self,
        group: Sequence[Frame],
        visual: Float[Tensor, "visual d_model"],
        shape: Sequence[int],
        deepstack: Float[Tensor, "depth visual d_model"],
    ) -> VisualTokens:
        before = self._chat.embed(before_grid(group))
        woven = weave(before, visual, self._after_grid)
        rows, columns = shape[1] // self._merge, shape[2] // self._merge
        positions = _positions(len(before), rows, columns)
        return VisualTokens(
            embeddings=woven.embeddings,
            positions=positions,
            advance=positions[:, -1] + 1,
            is_visual=woven.is_visual,
            start_s=group[0].stream_s,
            end_s=group[-1].stream_s,
            deepstack=deepstack,
        )

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


def before_grid(group: Sequence[Frame]) -> str:
    """The time halfway between a grid's first and last frame, and what opens the grid."""
    middle_s = (group[0].stream_s + group[-1].stream_s) / 2
    return f"<{middle_s:.1f} seconds><|vision_start|>"


def _positions(num_before: int, rows: int, columns: int) -> Int[Tensor, "3 tokens"]:
    """Text before the grid, the grid, then `<|vision_end|>`, one past the grid's longer side."""
    before = torch.arange(num_before).expand(3, -1)
    after = torch.full((3, 1), num_before + max(rows, columns))
    return torch.cat([before, num_before + grid_positions(rows, columns), after], dim=1)
