"""A made-up stream with exact ground truth: scripts, frames, questions and their scores."""

from eval.stream_world.history import Fact, History, Period
from eval.stream_world.moment import Backdrop, Item, Kind, Moment
from eval.stream_world.questions import KINDS, Question, ask, draw_questions
from eval.stream_world.renderer import WORLD_PX, Renderer
from eval.stream_world.scoring import Score, normalised, score
from eval.stream_world.script import Script, write_script
from eval.stream_world.standing import StandingQuestion, draw_standing
from eval.stream_world.statement import Statement, truth_spans
from eval.stream_world.timed_scoring import score_question
from eval.stream_world.video import write_video
from eval.stream_world.vocabulary import SEEN_STYLES
from eval.stream_world.wording import Split, noisy, word_question

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
