"""The streaming engine: sessions over streams, one model for all of them."""

from vstream.answer import AnswerStream
from vstream.config import VStreamConfig, load_config
from vstream.errors import ModelError, QuestionError, SettingsError, SourceError, VStreamError
from vstream.ingest import IngestProgress, IngestWorker
from vstream.open_session import open_session
from vstream.question import Answer, Evidence, Question
from vstream.session import Session
from vstream.stream_id import stream_id_of
from vstream.video_llm import VideoLLM, load_video_llm

__all__ = [
    "Answer",
    "AnswerStream",
    "Evidence",
    "IngestProgress",
    "IngestWorker",
    "ModelError",
    "Question",
    "QuestionError",
    "Session",
    "SettingsError",
    "SourceError",
    "VStreamConfig",
    "VStreamError",
    "VideoLLM",
    "load_config",
    "load_video_llm",
    "open_session",
    "stream_id_of",
]
