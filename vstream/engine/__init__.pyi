from .answer_context import AnswerContext
from .config import EngineConfig
from .decoder import Decoder
from .prefill import LayerKV, LocalWindow, Prefill
from .question_prefill import BlocksByLayer, PrefilledQuestion, QuestionPrefill
from .rekv import RekvContext, RekvPrefill
from .retrieval import MemoryView, Past, view_at

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
    "view_at",
]
