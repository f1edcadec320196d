"""FindAsker: a question that wants something found in, the spans in which it is so out, as its
benchmark reads them.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

from eval.play.asked import Play, TimeSpan
from eval.play.asker import GivenAnswer, SessionAsker
from vstream import EFFORTS, Finding, Question, Session

EFFORT = replace(EFFORTS["default"], milliseconds=None)
"""An answer is the same on any machine."""
_STREAM = "played"


class FindAsker:
    """Asks what wants nothing found as `asker` does, and so what is nowhere found."""

    def __init__(self, session: Session, asker: SessionAsker, play: Play) -> None:
        self._session, self._asker = session, asker
        self._sought = {one.prompt.text: one.sought for one in play.asked}

    def ask(self, question: Question, evidence: Sequence[TimeSpan] = ()) -> GivenAnswer:
        sought = self._sought[question.text]
        if sought is None:
            return self._asker.ask(question, evidence)
        began = time.perf_counter()
        finding = Finding(
            {_STREAM: self._session},
            sought.statement,
            within={_STREAM: (None, question.at_s)},
            effort=EFFORT,
        )
        for _ in finding:
            pass
        spans = finding.spans
        if not spans:
            return self._asker.ask(question, evidence)
        return GivenAnswer(
            sought.answer(spans),
            first_token_ms=1000 * (time.perf_counter() - began),
            seen_s=tuple((span.from_s, span.to_s, span.probability) for span in spans),
        )
