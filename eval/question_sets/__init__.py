"""Published question sets about videos: exact prompts, time rules, scoring rules and tables."""

from eval.question_sets.command import questions

__all__ = ["questions"]
