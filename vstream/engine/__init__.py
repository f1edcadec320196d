"""The streaming KV engine: visual tokens to KV blocks, and questions over retrieved blocks."""

from vstream.engine.answer_context import AnswerContext
from vstream.engine.config import EngineConfig
from vstream.engine.decoder import Decoder
from vstream.engine.prefill import LocalWindow, Prefill
from vstream.engine.question_prefill import PrefilledQuestion, QuestionPrefill
from vstream.engine.question_step import BlocksByLayer
from vstream.engine.rekv import RekvContext, RekvPrefill
from vstream.engine.retrieval import MemoryView, Past, view_at
from vstream.engine.token_drop import TokenDropper
from vstream.engine.window_kv import LayerKV

__all__ = [
    "AnswerContext",
    "BlocksByLayer",
    "Decoder",
    "EngineConfig",
    "LayerKV",
    "LocalWindow",
    "MemoryView",
    "Past",
    "Prefill",
    "PrefilledQuestion",
    "QuestionPrefill",
    "RekvContext",
    "RekvPrefill",
    "TokenDropper",
    "view_at",
]
