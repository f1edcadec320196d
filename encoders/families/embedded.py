"""Embedded: encodes a frame as three time words and nine visual tokens; one frame is one block.

The model that ships with vstream: SmolVLM's shape with its own layout of frames. Its config.json
says `"vstream_family": "embedded"`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from encoders.chat_prompt import Turn, VideoPlace
from encoders.check import Check
from encoders.drawn_statement import drawn_checks
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.images import SmolVLMVision
from encoders.own_world import OwnWorld, pooled
from encoders.recommended import EMBEDDED
from encoders.spoken_time import with_time_words
from encoders.tokens import TextTokens, VisualTokens, one_frame_block, weave


class Embedded(Family):
    """The embedded model, or another trained by the same recipe."""

    name = "embedded"
    place = VideoPlace("<image>")
    recommended = EMBEDDED

    def read_preprocessing(self, directory: Path) -> None:
        """Also read its own world, if that has been measured."""
        super().read_preprocessing(directory)
        self._world = OwnWorld.read(directory)

    def prepare(self) -> None:
        self._size = (self.preprocessor.edge("height"), self.preprocessor.edge("width"))
        self._vision = SmolVLMVision(self.model, self.transform)

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode in one pass of the tower; see `Family.encode`."""
        frames = [frame for (frame,) in groups]
        seen = self._vision(frames, [[self._size]] * len(frames))
        return [
            one_frame_block(frame, *weave(self.chat.embed(time_words(frame.stream_s)), visual))
            for frame, visual in zip(frames, seen, strict=True)
        ]

    def are_strange(self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]) -> list[bool]:
        """Judge by the distance of their tower features; see `OwnWorld`."""
        if self._world is None:
            return super().are_strange(pictures)
        told: list[bool] = self._world.are_strange(self.world_features(pictures)).tolist()
        return told

    def world_features(
        self, pictures: Sequence[UInt8[np.ndarray, "h w 3"]]
    ) -> Float[Tensor, "pictures features"]:
        frames = [Frame(pixels, 0.0, 0.0) for pixels in pictures]
        return pooled(self._vision.patches(frames, [[self._size]] * len(frames)))

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        """Write moments in the words that frames start with: `12:30` becomes `0h12m30s`. Ignores
        `dialogue` and `context`: the model was trained on questions alone, and after any other
        words it says that it cannot tell.
        """
        return super().question(with_time_words(question, time_words), answer_start=answer_start)

    def checks(self, statement: str) -> list[Check]:
        return drawn_checks(statement) or super().checks(statement)


def time_words(stream_s: float) -> str:
    """Return three words of the vocabulary, as `1h02m05s`. Hours wrap at 24: words run out."""
    seconds = int(stream_s)
    return f"{seconds // 3600 % 24}h{seconds // 60 % 60:02d}m{seconds % 60:02d}s"
