"""Two models measured on the same images: the difference of their accuracies, its interval, and McNemar's test."""

from __future__ import annotations

from math import comb
from typing import Any, NamedTuple

import numpy as np

from fgvc_zoo._errors import UserError

RESAMPLES = 10_000


class Comparison(NamedTuple):
    """A model against an opponent.

    Attributes:
        difference: Top-1 accuracy minus the opponent's, in percentage points.
        low: Lower end of the 95 % bootstrap interval of the difference, in percentage points.
        high: Upper end.
        p_value: McNemar's exact test, two-sided: how likely is such an uneven split of the images that only one of the two models
            classifies correctly, if both were equally good.
        errors_removed: Share of the opponent's errors that the model removes, in percent; negative where it adds errors.
    """

    difference: float
    low: float
    high: float
    p_value: float
    errors_removed: float


def compare(correct: str, opponent: str, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare two models image by image.

    The interval is a paired percentile bootstrap: each resample draws images with replacement and takes both models' predictions for
    them.

    Args:
        correct: What `evaluate` returns as `correct`: '1' or '0' for each image.
        opponent: The opponent's, on the same images in the same order.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling.

    Raises:
        UserError: The two were not measured on the same number of images.

    Example:
        >>> found = compare(90 * '1' + 10 * '0', 80 * '1' + 20 * '0')
        >>> found.difference, found.errors_removed, f'{found.p_value:.4f}'
        (10.0, 50.0, '0.0020')
    """
    if len(correct) != len(opponent) or not correct:
        raise UserError(f'two models are compared on the same images, not on {len(correct)} and {len(opponent)}')
    ours, theirs = (np.frombuffer(text.encode(), dtype=np.uint8) == ord('1') for text in (correct, opponent))
    count = len(correct)
    wins, losses = int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    # only the numbers of wins, losses and ties enter the resampled difference, so they are drawn directly
    drawn = np.random.default_rng(seed).multinomial(count, [wins / count, losses / count, 1 - (wins + losses) / count], size=resamples)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / count, [2.5, 97.5])
    difference = 100 * (wins - losses) / count
    mistakes = count - int(theirs.sum())
    removed = 100 * (wins - losses) / mistakes if mistakes else 0.0
    return Comparison(difference, float(low), float(high), mcnemar(wins, losses), removed)


def mcnemar(wins: int, losses: int) -> float:
    """McNemar's exact test, two-sided.

    Args:
        wins: Images that only the first model has right.
        losses: Images that only the second has right.

    Returns:
        The p value in [0, 1]; 1 where the models never differ.
    """
    total = wins + losses
    tail = sum(comb(total, count) for count in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2**total)


def compare_records(record: dict[str, Any], opponent: dict[str, Any]) -> Comparison:
    """`compare` two result files.

    Raises:
        UserError: They are of different data or splits, or one of them has no answers image by image.
    """
    for key in ('data', 'split'):
        if record[key] != opponent[key]:
            raise UserError(f"'{record['model']}' and '{opponent['model']}' were measured on different {key}: "
                            f'{record[key]} and {opponent[key]}')
    for result in (record, opponent):
        if 'correct' not in result['metrics']:
            raise UserError(f"the result of '{result['model']}' does not say which images were answered correctly; evaluate it again")
    return compare(record['metrics']['correct'], opponent['metrics']['correct'])
