"""SmolVLM: a frame in, its time as text and its visual tokens out; one frame is one block.

Source: SmolVLM2 (https://arxiv.org/abs/2504.05299), laid out as transformers' SmolVLM processor
lays out a video. Differs in the sentence before the frames: it names the number of frames and the
length of the video, which a stream does not know.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoders.chat_prompt import VIDEO_SLOT, ChatPrompt, VideoPlace
from encoders.family import Recommended, Turn
from encoders.frame import Frame
from encoders.image_transform import ImageTransform, Size, longest_edge_size
from encoders.preprocessor_config import PreprocessorConfig
from encoders.smolvlm_vision import SmolVLMVision
from encoders.visual_tokens import TextTokens, VisualTokens, one_frame_block
from encoders.woven_text import weave

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STREAM_INTRO = "You are provided the following series of frames from a video.\n"
_FAKE_TOKEN = "<fake_token_around_image>"
_AFTER_FRAMES = "\n\n"


class SmolVLM:
    """SmolVLM2 checkpoints."""

    name = "smolvlm"
    frames_per_block = 1
    recommended = Recommended()

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        """`sample_fps` is not used: every frame carries its own time."""
        self._config = PreprocessorConfig.read(directory)
        self._vision = SmolVLMVision(model, ImageTransform(self._config, model.device))
        # The frames are text with pictures in between, and so the place of the video is text:
        # the templates of several published checkpoints do not know a video.
        place = VideoPlace(
            item={"type": "text", "text": VIDEO_SLOT},
            marker=VIDEO_SLOT,
            before=STREAM_INTRO,
            after=_AFTER_FRAMES,
        )
        self._chat = ChatPrompt(model, directory, place, system)
        self._after_frame = self._chat.embed(_FAKE_TOKEN)
        self._tile_side = self._config.max_image_size.get(
            "longest_edge", model.config.vision_config.image_size
        )
        self.stop_ids = self._chat.stop_ids
        self.vocabulary_size = self._chat.vocabulary_size

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """One pass of the tower; see `Family.encode`."""
        frames = [frame for (frame,) in groups]
        sizes = [self._sizes((frame.pixels.shape[0], frame.pixels.shape[1])) for frame in frames]
        blocks = []
        for frame, visual in zip(frames, self._vision(frames, sizes), strict=True):
            woven = weave(self._chat.embed(before_frame(frame)), visual, self._after_frame)
            blocks.append(one_frame_block(frame, woven.embeddings, woven.is_visual))
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

    def _sizes(self, size: Size) -> list[Size]:
        """Resized twice, as transformers does: to the length for video, then to one square tile."""
        first = longest_edge_size(size, self._config.edge("longest_edge"))
        return [first, (self._tile_side, self._tile_side)]


def before_frame(frame: Frame) -> str:
    """A frame's time in minutes and seconds, and what opens its picture."""
    minutes, seconds = divmod(int(frame.stream_s), 60)
    return f"\nFrame from {minutes:02d}:{seconds:02d}:{_FAKE_TOKEN}<global-img>"
