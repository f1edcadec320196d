"""Family: how one kind of Video-LLM turns frames and text into the input of its decoder."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from encoders.chat_prompt import ChatPrompt, Turn, VideoPlace
from encoders.check import Check
from encoders.errors import UnsupportedModelError
from encoders.frame import Frame
from encoders.images import ImageTransform
from encoders.preprocessor_config import PreprocessorConfig
from encoders.recommended import Recommended
from encoders.tokens import TextTokens, VisualTokens

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor
    from transformers import PreTrainedModel


@runtime_checkable
class EmbedsPictures(Protocol):
    """What a family has that can compare pictures with words, as SigLIP does."""

    def embed_picture(self, groups: Sequence[Sequence[Frame]]) -> "Float[Tensor, 'blocks dim']":
        """A unit vector of each block, given by its frames, whichever others come with it."""

    def embed_text(self, text: str) -> "Float[Tensor, ' dim']":
        """A unit vector; the better a picture fits the words, the larger the product."""


class Family:
    """Base of the families. Stateless but for the weights and the tokenizer it was given.

    A subclass says what it is called, where its template shows the video, and how frames are
    encoded. The text side is that of the checkpoint's chat template and tokenizer.
    """

    name: str
    """The `model_type` of its checkpoints, or their `vstream_family` where config.json has that."""
    place: VideoPlace
    frames_per_block = 1
    """1, or the frames of one temporal grid."""
    recommended = Recommended()
    writes_lines = False
    """It reads a picture as a line of text, which is kept in the thumbnail."""

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        """Read the checkpoint's files. `sample_fps` is the rate at which frames will come.

        `system` is a system prompt in place of the template's own; "" is the template's. Raises
        UnsupportedModelError.
        """
        self.model: Any = model
        self.sample_fps = sample_fps
        self.read_preprocessing(directory)
        self.chat = ChatPrompt(model, directory, self.place, system)
        self.stop_ids = self.chat.stop_ids
        """Token ids that end an answer."""
        self.vocabulary_size = self.chat.vocabulary_size
        """Token ids from here on stand for nothing: a decoder may have more rows than there are."""
        self.prepare()

    def read_preprocessing(self, directory: Path) -> None:
        """Read how the checkpoint wants its frames."""
        self.preprocessor = PreprocessorConfig.read(directory)
        self.transform = ImageTransform(self.preprocessor, self.model.device)

    def prepare(self) -> None:
        """Read what else `encode` needs, once, as the last thing when a family is made."""

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode blocks, each given by its `frames_per_block` frames, in one pass of the tower.

        The result for one block does not depend on which others are encoded with it.
        """
        raise NotImplementedError

    def are_strange(self, pictures: Sequence[bytes]) -> list[bool]:
        """Whether pictures, given by their thumbnails, are none of what it was trained to see.

        Only a family that does not know the world can tell; of all others none is.
        """
        return [False] * len(pictures)

    def blank(self, stream_s: float) -> Frame:
        """A frame that shows nothing."""
        return Frame(np.full((96, 96, 3), 127, np.uint8), stream_s, 0.0)

    def token_ids(self, text: str) -> list[int]:
        """The tokens of a stream of text, each of which is a frame of it.

        Raises UnsupportedModelError for a family that watches pictures.
        """
        raise UnsupportedModelError(
            f"{self.name} watches pictures: push frames to it, or load a model of the family text"
        )

    def prefix(self) -> TextTokens:
        """All that stands before the first block: the attention sinks of the stream."""
        return self.chat.prefix()

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        """All that stands after the last block, up to where the answer begins.

        `context` is what one should know to read the picture: it stands before the question, and is
        no part of its own words. A family that does not read it leaves it out. `answer_start` is
        put in the model's mouth: its answer goes on from there.
        """
        return self.chat.question(question, dialogue, context, answer_start)

    def checks(self, statement: str) -> list[Check]:
        """What to ask about a block to know whether `statement` is so there: all must say so."""
        return [Check(self.recommended.judge_prompt.replace("{condition}", statement))]

    def text(self, token_ids: Sequence[int]) -> str:
        """Detokenize the ids of an answer, special tokens left out."""
        return self.chat.text(token_ids)

    def first_tokens(self, words: Sequence[str]) -> frozenset[int]:
        """Token ids with which an answer begins that opens with one of `words`."""
        return self.chat.first_tokens(words)

    def tokenizer_json(self) -> str:
        """The tokenizer as tokenizer.json has it, added tokens included."""
        return self.chat.tokenizer_json()
