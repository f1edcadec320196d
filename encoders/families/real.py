"""Real: a frame in, a line of text about it out; one frame is one block.

For real pictures where no Video-LLM is at hand: a classifier and a reader of print look, and a
small language model answers about the lines that they write. It knows a thousand words and does
not reason.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from encoders.chat_prompt import VIDEO_SLOT, VideoPlace
from encoders.families.family import Family
from encoders.frame import Frame
from encoders.images import line_of
from encoders.picture_words import NOTHING, look
from encoders.recommended import REAL
from encoders.tokens import VisualTokens, one_frame_block

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SAW = "What a camera saw:\n"
_TOLD = "You answer questions about what a camera saw, in a few words."
_EXAMPLES = (
    ("0:01 thing: anvil\n", "Do you see a canoe?", "No."),
    ("0:02 vehicle: tractor\n0:04 clothes: glove\n", "Is there a tractor in the video?", "Yes."),
    ("0:03 place: quarry\n0:06 animal: parrot\n", "Was there a parrot?", "Yes."),
    ("0:03 thing: lamp\n0:05 animal: mouse\n", "Is there a mouse now?", "Yes."),
    (
        "0:01 food and drink: pizza; vehicle: tram\n0:07 thing: vase\n",
        "Do you see a tram?",
        "Yes.",
    ),
    (
        "0:00 animal: parrot\n0:03 clothes: apron\n0:09 animal: seal\n",
        "Was there an apron in the video?",
        "Yes.",
    ),
    (
        "0:02 animal: seal\n0:05 vehicle: tank\n0:08 thing: lamp\n",
        "Was there a tank in the video?",
        "Yes.",
    ),
    (
        "0:01 animal: goose\n0:03 vehicle: tank\n0:05 animal: camel\n",
        "Which animals were there?",
        "A goose and a camel.",
    ),
    (
        '0:00 thing: lamp\n0:04 sign: "BAKERY"\n',
        "What does the sign say?",
        'The sign says "BAKERY".',
    ),
    ('0:03 food and drink: soup; sign: "SOUP 3.20"\n', "How much is a soup?", "A soup is 3.20."),
    ("0:02 animal: goose\n0:06 animal: seal\n", "What animal do you see now?", "A seal."),
)
"""Without them it tells stories. It says no so much more readily than yes that more of them say
yes: measured on made-up lines, where no question of `eval real` is.
"""


def _before() -> str:
    """The examples as turns of a dialogue, in ChatML, as SmolLM2 has it; then the stream begins."""
    turns = (
        f"{_SAW}{lines}\n{asked}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n"
        "<|im_start|>user\n"
        for lines, asked, said in _EXAMPLES
    )
    return "".join(turns) + _SAW


class Real(Family):
    """Text-only decoders whose config.json says `"vstream_family": "real"`."""

    name = "real"
    place = VideoPlace(VIDEO_SLOT, None, before=_before(), after="\n")
    recommended = REAL
    writes_lines = True

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        super().__init__(model, directory, sample_fps, system or _TOLD)

    def read_preprocessing(self, directory: Path) -> None:
        """There is none: what looks at the pictures has its own."""

    @torch.no_grad()
    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """See `Family.encode`; `text` is the line."""
        return [self._block(frame) for (frame,) in groups]

    def _block(self, frame: Frame) -> VisualTokens:
        line = self.line(frame)
        embeddings = self.chat.embed_plain(line)
        is_visual = torch.ones(len(embeddings), dtype=torch.bool)
        return replace(one_frame_block(frame, embeddings, is_visual), line=line.strip())

    def are_strange(self, pictures: Sequence[bytes]) -> list[bool]:
        """Those of which their lines say nothing."""
        return [line_of(one).endswith(f" {NOTHING}") for one in pictures]

    def line(self, frame: Frame) -> str:
        """What it says of a frame, with its end."""
        return f"{clock(frame.stream_s)} {look(frame.pixels)}\n"


def clock(stream_s: float) -> str:
    """As `1:02:05` or `0:42`."""
    minutes, seconds = divmod(int(stream_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
