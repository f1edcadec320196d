"""The streaming engine: sessions over streams, one model for all of them."""

from vstream.answer_stream import AnswerStream
from vstream.config import VStreamConfig, load_config
from vstream.errors import ModelError, QuestionError, SettingsError, SourceError, VStreamError
from vstream.ingest import IngestProgress, IngestWorker
from vstream.models.video_llm import VideoLLM, load_video_llm
from vstream.open_session import open_session
from vstream.question import Answer, Evidence, Judgement, Question, Span
from vstream.respond_policy import Firing, KOfN, RespondRule, SilenceRule, Watch
from vstream.search.moment import Moment
from vstream.search.moment_search import MomentSearch
from vstream.session import Session
from vstream.sources.stream_id import stream_id_of

__all__ = [
    "Answer",
    "AnswerStream",
    "Evidence",
    "Firing",
    "IngestProgress",
    "IngestWorker",
    "Judgement",
    "KOfN",
    "ModelError",
    "Moment",
    "MomentSearch",
    "Question",
    "QuestionError",
    "RespondRule",
    "Session",
    "SettingsError",
    "SilenceRule",
    "SourceError",
    "Span",
    "VStreamConfig",
    "VStreamError",
    "VideoLLM",
    "Watch",
    "load_config",
    "load_video_llm",
    "open_session",
    "stream_id_of",
]
