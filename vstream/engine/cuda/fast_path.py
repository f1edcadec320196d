"""CudaPath: the fast paths of one card as the scheduler takes them (`vstream.engine.passes`)."""

from collections.abc import Sequence

from torch import Tensor

from vstream.engine.cuda.decode_rows import DecodeRows
from vstream.engine.cuda.recorded_questions import RecordedQuestions
from vstream.engine.decoder import Decoder, Step


class CudaPath:
    """Decodes all answers in rows of one recording, and replays the passes of questions."""

    def __init__(
        self,
        decoder: Decoder,
        rows: DecodeRows | None = None,
        questions: RecordedQuestions | None = None,
    ) -> None:
        self._rows = rows or DecodeRows(decoder)
        self._questions = questions or RecordedQuestions(decoder)

    def decode(
        self, steps: Sequence[Step], embeddings: Tensor
    ) -> Sequence[Tensor | Exception | None]:
        return self._rows.decode(steps, embeddings)

    def question(self, step: Step, embeddings: Tensor) -> Tensor | None:
        return self._questions.question(step, embeddings)
