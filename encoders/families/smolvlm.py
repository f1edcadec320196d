"""SmolVLM: encodes a frame as its time in text and its visual tokens; one frame is one block.

Source: SmolVLM2 (https://arxiv.org/abs/2504.05299), laid out as transformers' SmolVLM processor
lays out a video. Differs in the sentence before the frames: the original names the number of frames
and the length of the video, which a stream does not know.
"""

from collections.abc import Sequence

from encoders.chat_prompt import VIDEO_SLOT, VideoPlace
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.images import Size, SmolVLMVision, longest_edge_size
from encoders.tokens import VisualTokens, one_frame_block, weave

STREAM_INTRO = "You are provided the following series of frames from a video.\n"
_FAKE_TOKEN = "<fake_token_around_image>"


class SmolVLM(Family):
    name = "smolvlm"
    # The frames are text with pictures in between, so the video's place is text:
    # the templates of several published checkpoints know no video.
    place = VideoPlace(
        VIDEO_SLOT, {"type": "text", "text": VIDEO_SLOT}, before=STREAM_INTRO, after="\n\n"
    )

    def prepare(self) -> None:
        self._vision = SmolVLMVision(self.model, self.transform)
        self._after_frame = self.chat.embed(_FAKE_TOKEN)
        self._tile_side = self.preprocessor.max_image_size.get(
            "longest_edge", self.model.config.vision_config.image_size
        )

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode in one pass of the tower; see `Family.encode`."""
        frames = [frame for (frame,) in groups]
        sizes = [self._sizes((frame.pixels.shape[0], frame.pixels.shape[1])) for frame in frames]
        before = [self.chat.embed(before_frame(frame)) for frame in frames]
        seen = zip(frames, before, self._vision(frames, sizes), strict=True)
        return [one_frame_block(f, *weave(text, v, self._after_frame)) for f, text, v in seen]

    def _sizes(self, size: Size) -> list[Size]:
        """Return the two sizes that transformers resizes to: the video's, then one square tile."""
        first = longest_edge_size(size, self.preprocessor.edge("longest_edge"))
        return [first, (self._tile_side, self._tile_side)]


def before_frame(frame: Frame) -> str:
    """Return a frame's time in minutes and seconds, and its picture's start marker."""
    minutes, seconds = divmod(int(frame.stream_s), 60)
    return f"\nFrame from {minutes:02d}:{seconds:02d}:{_FAKE_TOKEN}<global-img>"
