"""StreamReader: answers questions about a stream that another process ingests or has ingested."""

import torch

from memory import FollowedMemory, follow_memory
from memory.closing import Closing
from vstream.answer import QueryHandler
from vstream.answer_stream import AnswerStream
from vstream.config import VStreamConfig
from vstream.engine.prefill import prefix_kv
from vstream.made_by import require_made_by
from vstream.models.video_llm import VideoLLM
from vstream.policy import policy_of_reader
from vstream.question import Judgement, Question


class StreamReader(Closing):
    """Answers like a Session over the same blocks. Safe from any thread."""

    def __init__(self, model: VideoLLM, memory: FollowedMemory, config: VStreamConfig) -> None:
        """Raises FingerprintMismatchError for another model's blocks, PolicyError."""
        require_made_by(model, memory.provenance)
        policy = policy_of_reader(config, model, memory.provenance.fingerprint)
        self.model = model
        self.memory = memory
        with torch.inference_mode(), model.turn:
            prefix = prefix_kv(model.decoder, model.family.prefix())
        self._queries = QueryHandler(model, memory, prefix, policy, config.engine)
        self.questions = self._queries.questions
        self.begin_describing = self._queries.begin_describing

    def ask(self, question: Question | str) -> AnswerStream:
        """Answer from what has been ingested by now; see `QueryHandler.ask`."""
        return self._queries.ask(question)

    def judge(self, condition: str, at_s: float | None = None) -> Judgement:
        return self._queries.judge(condition, at_s)

    def close(self) -> None:
        self.memory.close()


def open_reader(config: VStreamConfig, model: VideoLLM, stream_id: str) -> StreamReader:
    """Read a stream of the configured store, which any process may write. Raises StoreError if
    there is no such stream or it cannot be read from here, FingerprintMismatchError if another
    model made its blocks.
    """
    memory = follow_memory(config.memory, stream_id, model.decoder.device)
    try:
        return StreamReader(model, memory, config)
    except BaseException:
        memory.close()
        raise
