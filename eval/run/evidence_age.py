"""AGES_S: the age of a question's evidence in, the group of ages that reports put it into out."""

import math

AGES_S = {
    "<1min": 60.0,
    "1-10min": 600.0,
    "10-60min": 3600.0,
    "1-6h": 21600.0,
    ">6h": math.inf,
}
"""Evidence is younger than so many seconds, and not as young as the group before."""


def age_of(age_s: float | None) -> str | None:
    """The group that the oldest evidence of that age is in; None without evidence."""
    return None if age_s is None else next(age for age, end_s in AGES_S.items() if age_s < end_s)
