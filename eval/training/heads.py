"""Heads: visual tokens and hidden states of frames in, what the frames show out; training only.

They are thrown away afterwards. `FrameHeads` keep the vision tower to what a single frame shows,
`EventHeads` make the decoder note what changed from one frame to the next while it reads them, so
that keys and values of a frame speak of arrivals, departures and motion, and `MeaningHeads` make
it note what a question asks before it looks for the answer.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from eval.stream_world.vocabulary import COLORS, SCENES, shape_names
from eval.training.frames import MOTIONS, NO_DIGIT, UNKNOWN, FrameBatch, known_names
from eval.training.wordings import ASKED_KINDS, Meaning


class FrameHeads(nn.Module):
    """Linear readings of a frame's visual tokens, one for each cell of the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        num_shapes = len(shape_names())
        self.norm = nn.LayerNorm(width)
        self.names = nn.Linear(width, len(known_names()))
        self.colored_shapes = nn.Linear(width, num_shapes * len(COLORS))
        self.scene = nn.Linear(width, len(SCENES))
        self.digits = nn.Linear(width, 2 * (NO_DIGIT + 1))
        self.place = nn.Linear(width, 3)
        nn.init.constant_(self.names.bias, -6.0)  # nearly every name is absent
        nn.init.constant_(self.colored_shapes.bias, -5.0)

    def loss(self, visual: Float[Tensor, "frames cells d_model"], truth: FrameBatch) -> Tensor:
        """How far the visual tokens are from saying what each frame shows."""
        tokens = self.norm(visual.float())
        whole = tokens.mean(1)
        names = _bits(self.names(tokens), truth.names)
        colored = _bits(self.colored_shapes(whole), truth.colored_shapes)
        scene = F.cross_entropy(self.scene(whole), truth.scene)
        digits = F.cross_entropy(self.digits(whole).view(-1, NO_DIGIT + 1), truth.digits.flatten())
        is_known = truth.place[..., 3:]
        distance = ((self.place(tokens) - truth.place[..., :3]).abs() * is_known).sum()
        place = distance / is_known.sum().clamp(min=1)
        total: Tensor = names + colored + 0.3 * scene + digits + 2 * place
        return total


class EventHeads(nn.Module):
    """Linear readings of the hidden states of a frame's visual tokens, halfway up the decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.came = nn.Linear(width, len(known_names()))
        self.went = nn.Linear(width, len(known_names()))
        self.motion = nn.Linear(width, len(MOTIONS))
        nn.init.constant_(self.came.bias, -6.0)
        nn.init.constant_(self.went.bias, -6.0)

    def loss(self, hidden: Float[Tensor, "frames cells d_model"], truth: FrameBatch) -> Tensor:
        """How far the hidden states are from saying what changed."""
        states = self.norm(hidden.float())
        came = _bits(self.came(states), truth.came)
        went = _bits(self.went(states.mean(1)), truth.went)
        motion = F.cross_entropy(
            self.motion(states).flatten(0, 1), truth.motion.flatten(), ignore_index=UNKNOWN
        )
        total: Tensor = came + went + torch.nan_to_num(motion)
        return total


class MeaningHeads(nn.Module):
    """Linear readings of the hidden state where a question ends, halfway up the decoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.kind = nn.Linear(width, len(ASKED_KINDS))
        self.names = nn.Linear(width, len(known_names()))
        nn.init.constant_(self.names.bias, -5.0)

    def loss(self, hidden: Float[Tensor, "questions d_model"], truth: Meaning) -> Tensor:
        """How far the hidden states are from saying what is asked."""
        states = self.norm(hidden.float())
        kind = F.cross_entropy(self.kind(states), truth.kind)
        total: Tensor = kind + _bits(self.names(states), truth.names)
        return total


def _bits(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross entropy, summed within a frame, averaged over frames."""
    total = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum")
    return total / len(truth)
