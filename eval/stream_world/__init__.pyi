from .history import Fact, History, Period
from .moment import Backdrop, Item, Kind, Moment
from .questions import KINDS, Question, ask, draw_questions
from .renderer import WORLD_PX, Renderer
from .scoring import Score, normalised, score
from .script import Script, write_script
from .standing import StandingQuestion, draw_standing
from .statement import Statement, truth_spans
from .timed_scoring import score_question
from .video import write_video
from .vocabulary import SEEN_STYLES
from .wording import Split, noisy, word_question

__all__ = [
    "KINDS",
    "SEEN_STYLES",
    "WORLD_PX",
    "Backdrop",
    "Fact",
    "History",
    "Item",
    "Kind",
    "Moment",
    "Period",
    "Question",
    "Renderer",
    "Score",
    "Script",
    "Split",
    "StandingQuestion",
    "Statement",
    "ask",
    "draw_questions",
    "draw_standing",
    "noisy",
    "normalised",
    "score",
    "score_question",
    "truth_spans",
    "word_question",
    "write_script",
    "write_video",
]
