from .alert import Alert, Firing
from .answer_stream import AnswerStream
from .config import VStreamConfig, load_config
from .errors import ModelError, QuestionError, SettingsError, SourceError, VStreamError
from .ingest import IngestProgress, IngestWorker
from .models.video_llm import VideoLLM, load_video_llm
from .open_session import open_session
from .question import Answer, Evidence, Judgement, Question, Stretch
from .search.finding import EFFORTS, Effort, Finding
from .search.hunter import FoundSpan
from .search.moment import Moment
from .search.moment_search import MomentSearch
from .search.recap import Recap, RecapEntry
from .session import Session
from .sources.address import stream_id_of
from .sources.sampled_frames import frames
from .speaking.k_of_n import KOfN
from .speaking.policy import SpeakingPolicy
from .speaking.silence import Silence

__all__ = [
    "EFFORTS",
    "Alert",
    "Answer",
    "AnswerStream",
    "Effort",
    "Evidence",
    "Finding",
    "Firing",
    "FoundSpan",
    "IngestProgress",
    "IngestWorker",
    "Judgement",
    "KOfN",
    "ModelError",
    "Moment",
    "MomentSearch",
    "Question",
    "QuestionError",
    "Recap",
    "RecapEntry",
    "Session",
    "SettingsError",
    "Silence",
    "SourceError",
    "SpeakingPolicy",
    "Stretch",
    "VStreamConfig",
    "VStreamError",
    "VideoLLM",
    "frames",
    "load_config",
    "load_video_llm",
    "open_session",
    "stream_id_of",
]
