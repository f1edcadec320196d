"""Real: a frame in, a line of text about it out; one frame is one block.

A classifier and a reader of print look, and a small language model answers about the lines that
they write. It answers too little to be shipped: docs/experiments.md.
"""

import torch
from picture_words import look

from app.stream_time import clock
from encoders.chat_prompt import VIDEO_SLOT, VideoPlace
from encoders.families.family import Family
from encoders.families.text import Text
from encoders.recommended import Recommended
from encoders.tokens import one_frame_block

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
yes: measured on made-up lines, where no question of the set is.
"""


def _before() -> str:
    """The examples as turns of a dialogue, in ChatML, as SmolLM2 has it; then the stream begins."""
    turns = (
        f"{_SAW}{lines}\n{asked}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n"
        "<|im_start|>user\n"
        for lines, asked, said in _EXAMPLES
    )
    return "".join(turns) + _SAW


class Real(Text):
    """On the checkpoint of SmolLM2 that `python -m eval text-checkpoint` makes."""

    place = VideoPlace(VIDEO_SLOT, None, before=_before(), after="\n")
    frames_per_block = 1
    recommended = Recommended()

    def __init__(self, model, directory, sample_fps=1.0, system=_TOLD):
        super().__init__(model, directory, sample_fps, system)

    @torch.no_grad()
    def encode(self, groups):
        return [self._block_of(frame) for (frame,) in groups]

    def _block_of(self, frame):
        ids = torch.tensor(self.token_ids(self.line(frame)))
        is_visual = torch.ones(len(ids), dtype=torch.bool)
        return one_frame_block(frame, self.model.get_input_embeddings()(ids), is_visual)

    def line(self, frame):
        """What it says of a frame, with its end."""
        return f"{clock(frame.stream_s)} {look(frame.pixels)}\n"

    def blank(self, stream_s):
        return Family.blank(self, stream_s)


class Blind(Real):
    """The same decoder, which reads nothing of what was seen."""

    def line(self, frame):
        return "\n"
