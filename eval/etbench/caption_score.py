"""Caption score: how well the times and captions of answers to dvc or slc of one source fit.

A caption is compared with the true caption of every event that its time matches. The figures that
compare words (Bleu, ROUGE_L, CIDEr) are reported beside the score and enter no merged number;
METEOR is left empty, because a Java program and its tables define it.

Sources of the word figures: Papineni et al. 2002 (BLEU), Lin 2004 (ROUGE), Vedantam et al. 2015
(CIDEr), each with the constants of the COCO caption evaluation (Chen et al. 2015). Each given
caption has one true one.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from eval.etbench.answers import TimedCaption, answer_captions
from eval.etbench.ptb_tokens import ptb_tokens
from eval.etbench.sample import Answered, Figures, Sample
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.etbench.time_scores import THRESHOLDS, caption_overlaps


class CaptionPair(NamedTuple):
    """Places of an answer's caption and of a true one that its time matches, or None."""

    found: int
    true: int | None


@dataclass(frozen=True)
class CaptionedVideo:
    sample: Sample
    captions: tuple[TimedCaption, ...]

    @cached_property
    def overlap(self) -> Float[np.ndarray, "captions true"]:
        return caption_overlaps([one.span for one in self.captions], self.sample.tgt)

    @cached_property
    def found_texts(self) -> tuple[str, ...]:
        return tuple(ptb_tokens(one.caption) for one in self.captions)

    @cached_property
    def true_texts(self) -> tuple[str, ...]:
        return tuple(ptb_tokens(caption) for caption in self.sample.g)

    def pairs(self, threshold: float) -> list[CaptionPair]:
        """Pair each caption with all true ones that its time matches, or with None."""
        pairs = []
        for found, row in enumerate(self.overlap):
            matched = [CaptionPair(found, int(true)) for true in np.flatnonzero(row >= threshold)]
            pairs += matched or [CaptionPair(found, None)]
        return pairs


def caption_score(answered: Sequence[Answered], likeness: SentenceLikeness) -> Figures:
    """Return means over the readable videos; only F1 also counts the others."""
    videos, failed = captioned_videos(answered)
    scale = len(videos) / len(answered)
    f1 = [scale * _f1(videos, threshold) for threshold in THRESHOLDS]
    return {
        "Total": len(answered),
        "Failed": failed,
        **{f"F1@{threshold}": one for threshold, one in zip(THRESHOLDS, f1, strict=True)},
        "F1": float(np.mean(f1)),
        **_word_figures(videos),
        "SentSim": _similarity(videos, likeness),
    }


def captioned_videos(answered: Sequence[Answered]) -> tuple[list[CaptionedVideo], int]:
    """Return videos, a later answer replacing an earlier one; and how many were unreadable."""
    videos: dict[str | int, CaptionedVideo] = {}
    failed = 0
    for sample, answer in answered:
        captions = answer_captions(answer)
        if captions:
            videos[sample.video or sample.idx] = CaptionedVideo(sample, captions)
        else:
            failed += 1
    return list(videos.values()), failed


def _f1(videos: Sequence[CaptionedVideo], threshold: float) -> float:
    if not videos:
        return 0.0
    covered = [video.overlap > threshold for video in videos]
    precision = float(np.mean([one.any(axis=1).mean() for one in covered]))
    recall = float(np.mean([one.any(axis=0).mean() for one in covered]))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _similarity(videos: Sequence[CaptionedVideo], likeness: SentenceLikeness) -> float:
    if not videos:
        return 0.0
    likeness.learn(text for video in videos for text in video.found_texts + video.true_texts)
    return float(np.mean([np.mean(video_similarities(video, likeness)) for video in videos]))


def video_similarities(video: CaptionedVideo, likeness: SentenceLikeness) -> list[float]:
    """Return the mean over the pairs at each threshold. Officially, a caption without a match is
    compared with a random string; here the expected similarity makes scores reproducible.
    """
    between = likeness.between(video.found_texts, video.true_texts)
    unmatched = likeness.to_random_string(video.found_texts)

    def alike(found: int, true: int | None) -> np.float32:
        similarity: np.float32 = unmatched[found] if true is None else between[found, true]
        return similarity

    return [float(np.mean([alike(*pair) for pair in video.pairs(at)])) for at in THRESHOLDS]


def _word_figures(videos: Sequence[CaptionedVideo]) -> Figures:
    rows = [_video_words(video, threshold) for video in videos for threshold in THRESHOLDS]
    means = np.mean(rows, axis=0).tolist() if rows else [0.0] * 6
    names = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
    return dict(zip(names, [*means[:4], None, *means[4:]], strict=True))


def _video_words(video: CaptionedVideo, threshold: float) -> list[float]:
    pairs = [
        (
            video.found_texts[found].split(),
            [f"<no match {place}>"] if true is None else video.true_texts[true].split(),
        )
        for place, (found, true) in enumerate(video.pairs(threshold))
    ]
    return [*bleu(pairs), rouge_l(pairs), cider(pairs)]


Tokens = Sequence[str]
Pair = tuple[Tokens, Tokens]
"""The given caption, then the true one."""

LONGEST = 4
_ROUGE_BETA = 1.2
_CIDER_SIGMA = 6.0


def _ngrams(tokens: Tokens, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def bleu(pairs: Sequence[Pair]) -> list[float]:
    """Compute over all pairs, for n-grams up to 1, 2, 3 and 4; the tiny summands are COCO's."""
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
    """Return the mean F measure of the longest common subsequence."""
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
    """Compute CIDEr-D, at most ten; the pairs' true captions are the counted documents."""
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
