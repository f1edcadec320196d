"""CaptionMemory: a stream told in words every few seconds, and the captions most like a question.

The memory that services have which keep text instead of visual tokens: a Video-LLM captions the
stream, a sentence encoder indexes the captions, and the best ones are read with the question (so
NVIDIA's blueprint for video search and summarisation, 2025). Here captions are turns of a dialogue:
what was to be seen at a time, and what was said of it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from encoders import Turn
from encoders.sentence_encoder import SentenceEncoder
from eval.stream_world.vocabulary import clock
from vstream import Question, QuestionError, Session

EVERY_S = 10
READ = 8
"""So many captions are read with a question."""
_ASKED = "what do you see now?"


@dataclass(frozen=True)
class Caption:
    """What could be seen at a second of the stream, in the model's words."""

    at_s: int
    text: str

    def as_turn(self) -> Turn:
        return Turn(f"what did you see at {clock(self.at_s)}?", self.text)

    def as_sentence(self) -> str:
        return f"at {clock(self.at_s)}: {self.text}."


class CaptionMemory:
    """All captions so far. Nothing of the frames is kept."""

    def __init__(self, encoder: SentenceEncoder | None = None) -> None:
        self._encoder = encoder or SentenceEncoder()
        self._captions: list[Caption] = []
        self._vectors: list[np.ndarray] = []
        self.seconds = 0.0
        """Spent on telling so far."""

    @property
    def num_bytes(self) -> int:
        """Of text and vectors."""
        texts = sum(len(caption.text.encode()) for caption in self._captions)
        return texts + sum(vector.nbytes for vector in self._vectors)

    def tell(self, session: Session, seconds: Iterable[int]) -> None:
        """Caption those of the `seconds` that come every EVERY_S, from the frames up to then."""
        self._encoder.load()
        started = time.perf_counter()
        for at_s in seconds:
            if (at_s + 1) % EVERY_S:
                continue
            try:
                answer = session.ask(
                    Question(_ASKED, float(at_s)), [[]] * session.model.decoder.num_layers
                ).answer
            except QuestionError:  # nothing was seen yet
                continue
            self.add(Caption(at_s, answer.text))
        self.seconds += time.perf_counter() - started

    def add(self, caption: Caption) -> None:
        """The next one, in stream order."""
        self._captions.append(caption)
        (vector,) = self._encoder.encode([f"{clock(caption.at_s)}: {caption.text}"])
        self._vectors.append(vector)

    def most_like(self, question: str, asked_s: float) -> list[Caption]:
        """The READ best of those made by `asked_s`, in stream order."""
        num = sum(caption.at_s <= asked_s for caption in self._captions)
        if not num:
            return []
        (vector,) = self._encoder.encode([question])
        scores = np.stack(self._vectors[:num]) @ vector
        best = sorted(np.argsort(-scores, kind="stable")[:READ].tolist())
        return [self._captions[index] for index in best]
