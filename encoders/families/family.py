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
    from jaxtyping import Float, UInt8
    from torch import Tensor
    from transformers import PreTrainedModel


@runtime_checkable
class EmbedsPictures(Protocol):
    """The methods of a family that can compare pictures with words, as SigLIP does."""

    def embed_picture(self, groups: Sequence[Sequence[Frame]]) -> "Float[Tensor, 'blocks dim']":
        """Return a unit vector per block, given by its frames, whichever blocks come along."""

    def embed_text(self, text: str) -> "Float[Tensor, ' dim']":
        """Return a unit vector; the better a picture fits the words, the larger the product."""


class Family:
    """Base of the families. Stateless except for the given weights and tokenizer.

    A subclass defines its name, where its template shows the video, and how frames are encoded. The
    text side comes from the checkpoint's chat template and tokenizer.
    """

    name: str
    """The `model_type` of its checkpoints, or their `vstream_family` if config.json has one."""
    place: VideoPlace
    frames_per_block = 1
    """1, or the frames of one temporal grid."""
    recommended = Recommended()

    def __init__(
        self, model: "PreTrainedModel", directory: Path, sample_fps: float, system: str = ""
    ) -> None:
        """Read the checkpoint's files. `sample_fps` is the rate at which frames will come.

        `system` replaces the template's system prompt; "" keeps it. Raises UnsupportedModelError.
        """
        self.model: Any = model
        self.sample_fps = sample_fps
        self.read_preprocessing(directory)
        self.chat = ChatPrompt(model, directory, self.place, system)
        self.stop_ids = self.chat.stop_ids
        """Token ids that end an answer."""
        self.vocabulary_size = self.chat.vocabulary_size
        """Token ids from here on mean nothing: a decoder may have more rows than the vocabulary."""
        self.prepare()

    def read_preprocessing(self, directory: Path) -> None:
        """Read how the checkpoint wants its frames."""
        self.preprocessor = PreprocessorConfig.read(directory)
        self.transform = ImageTransform(self.preprocessor, self.model.device)

    def prepare(self) -> None:
        """Read whatever else `encode` needs; called once, at the end of construction."""

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """Encode blocks, each given by its `frames_per_block` frames, in one pass of the tower.

        A block's result does not depend on which others are encoded with it.
        """
        raise NotImplementedError

    def are_strange(self, pictures: Sequence["UInt8[np.ndarray, 'h w 3']"]) -> list[bool]:
        """Return for each picture whether it is unlike anything in training. Only a family that
        does not know the world can tell; others return False.
        """
        return [False] * len(pictures)

    def blank(self, stream_s: float) -> Frame:
        """Return a frame that shows nothing."""
        return Frame(np.full((96, 96, 3), 127, np.uint8), stream_s, 0.0)

    def token_ids(self, text: str) -> list[int]:
        """Return the tokens of a text stream, each of which is one frame.

        Raises UnsupportedModelError for a family that watches pictures.
        """
        raise UnsupportedModelError(
            f"{self.name} watches pictures: push frames to it, or load a model of the family text"
        )

    def prefix(self) -> TextTokens:
        """Return everything before the first block: the stream's attention sinks."""
        return self.chat.prefix()

    def question(
        self,
        question: str,
        dialogue: Sequence[Turn] = (),
        context: str = "",
        answer_start: str = "",
    ) -> TextTokens:
        """Return everything after the last block, up to where the answer starts.

        `context` is what one should know to read the picture: it comes before the question and is
        not part of its own words. A family that does not read it ignores it. `answer_start` is put
        in the model's mouth: its answer continues from there.
        """
        return self.chat.question(question, dialogue, context, answer_start)

    def checks(self, statement: str) -> list[Check]:
        """Return what to ask about a block to check `statement` there: all must agree."""
        return [Check(self.recommended.judge_prompt.replace("{condition}", statement))]

    def text(self, token_ids: Sequence[int]) -> str:
        """Detokenize the ids of an answer, without special tokens."""
        return self.chat.text(token_ids)

    def first_tokens(self, words: Sequence[str]) -> frozenset[int]:
        """Return the token ids that start an answer with one of `words`."""
        return self.chat.first_tokens(words)

    def tokenizer_json(self) -> str:
        """Return the tokenizer as in tokenizer.json, added tokens included."""
        return self.chat.tokenizer_json()
