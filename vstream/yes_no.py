"""yes_no: computes how probable a yes is, from the logits of an answer's first token."""

from jaxtyping import Float
from torch import Tensor

from encoders import Family
from vstream.errors import ModelError


def speaking_probability(logits: Float[Tensor, " vocabulary"], family: Family) -> float:
    """Return how probable it is that there is something to report."""
    silence = family.first_tokens(family.recommended.silence_words)
    if not silence:
        return _yes_probability(logits, family)
    return 1 - float(logits.float().softmax(dim=0)[sorted(silence)].sum())


def _yes_probability(logits: Float[Tensor, " vocabulary"], family: Family) -> float:
    yes = family.first_tokens(family.recommended.yes_words)
    no = family.first_tokens(family.recommended.no_words)
    if not (yes - no and no - yes):
        raise ModelError(
            f"a standing question needs answers that differ in their first token: {family.name} "
            f"writes {family.recommended.yes_words} and {family.recommended.no_words} alike"
        )
    # A token that opens both says nothing; the difference of logsumexps is the log of yes / no.
    says_yes = logits[sorted(yes - no)].float().logsumexp(dim=0)
    says_no = logits[sorted(no - yes)].float().logsumexp(dim=0)
    return float((says_yes - says_no).sigmoid())
