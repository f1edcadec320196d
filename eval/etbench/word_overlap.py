"""Word overlap: pairs of tokenised captions in, Bleu, ROUGE_L and CIDEr out, as COCO measures them.

Sources: Papineni et al. 2002 (BLEU), Lin 2004 (ROUGE), Vedantam et al. 2015 (CIDEr), each with the
constants of the COCO caption evaluation (Chen et al. 2015). One true caption for each given one.
"""

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[str]
Pair = tuple[Tokens, Tokens]
"""The given caption, then the true one."""

LONGEST = 4
_ROUGE_BETA = 1.2
_CIDER_SIGMA = 6.0


def _ngrams(tokens: Tokens, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def bleu(pairs: Sequence[Pair]) -> list[float]:
    """Over all pairs together, for n-grams up to 1, 2, 3 and 4; the tiny summands are COCO's."""
    num_given = sum(len(given) for given, _ in pairs)
    num_true = sum(len(true) for _, true in pairs)
    ratio = (num_given + 1e-15) / (num_true + 1e-9)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for n in range(1, LONGEST + 1):
        guessed = sum(max(0, len(given) - n + 1) for given, _ in pairs)
        correct = sum((_ngrams(given, n) & _ngrams(true, n)).total() for given, true in pairs)
        product *= (correct + 1e-15) / (guessed + 1e-9)
        scores.append(brevity * product ** (1 / n))
    return scores


def rouge_l(pairs: Sequence[Pair]) -> float:
    """The mean F measure of the longest common subsequence."""
    return sum(_rouge_l(*pair) for pair in pairs) / len(pairs)


def _rouge_l(given: Tokens, true: Tokens) -> float:
    common = _longest_common(given, true)
    if not common:
        return 0.0
    precision, recall = common / len(given), common / len(true)
    beta = _ROUGE_BETA**2
    return (1 + beta) * precision * recall / (recall + beta * precision)


def _longest_common(given: Tokens, true: Tokens) -> int:
    row = [0] * (len(true) + 1)
    for token in given:
        above = row
        row = [0]
        for place, other in enumerate(true):
            longest = max(above[place + 1], row[place])
            row.append(above[place] + 1 if token == other else longest)
    return row[-1]


def cider(pairs: Sequence[Pair]) -> float:
    """CIDEr-D, ten at most; the true captions of the pairs are the documents that are counted."""
    documents = Counter(
        gram for _, true in pairs for n in range(1, LONGEST + 1) for gram in _ngrams(true, n)
    )
    scores = [
        sum(_cider(given, true, n, documents, len(pairs)) for n in range(1, LONGEST + 1)) / LONGEST
        for given, true in pairs
    ]
    return 10 * sum(scores) / len(scores)


def _cider(
    given: Tokens, true: Tokens, n: int, documents: Counter[tuple[str, ...]], num_pairs: int
) -> float:
    def weights(tokens: Tokens) -> dict[tuple[str, ...], float]:
        return {
            gram: count * (math.log(num_pairs) - math.log(max(1, documents[gram])))
            for gram, count in _ngrams(tokens, n).items()
        }

    one, other = weights(given), weights(true)
    norm = math.sqrt(sum(w * w for w in one.values()) * sum(w * w for w in other.values()))
    if not norm:
        return 0.0
    shared = sum(min(w, other[gram]) * other[gram] for gram, w in one.items() if gram in other)
    apart = max(0, len(given) - 1) - max(0, len(true) - 1)
    return shared / norm * math.exp(-(apart**2) / (2 * _CIDER_SIGMA**2))
