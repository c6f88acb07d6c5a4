"""Paired comparisons against oracles: loops, closed forms and known p values."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fgvc_zoo import UserError
from fgvc_zoo.comparison import compare, compare_records, mcnemar

OURS = '1' * 70 + '0' * 10 + '1' * 15 + '0' * 5  # 70 both right, 10 losses, 15 wins, 5 both wrong
THEIRS = '1' * 70 + '1' * 10 + '0' * 15 + '0' * 5


def test_difference_and_errors_removed() -> None:
    result = compare(OURS, THEIRS)
    assert result.difference == pytest.approx(5.0)
    assert result.errors_removed == pytest.approx(100 * 5 / 20)  # 20 errors became 15
    assert result.low < 5.0 < result.high


def test_interval_is_that_of_a_loop_over_resampled_images() -> None:
    result = compare(OURS, THEIRS)
    ours, theirs = (np.array([int(letter) for letter in text]) for text in (OURS, THEIRS))
    generator = np.random.default_rng(1)
    differences = []
    for _ in range(4000):
        drawn = generator.integers(0, len(ours), len(ours))
        differences.append(100 * (ours[drawn].mean() - theirs[drawn].mean()))
    low, high = np.percentile(differences, [2.5, 97.5])
    assert result.low == pytest.approx(low, abs=1.01)  # the differences are whole points here
    assert result.high == pytest.approx(high, abs=1.01)


@pytest.mark.parametrize(('wins', 'losses'), [(0, 0), (3, 3), (15, 10), (1, 9), (0, 12), (700, 500), (2000, 1500)])
def test_mcnemar_is_the_binomial_tail(wins: int, losses: int) -> None:
    total = wins + losses
    tail = sum(Fraction(math.comb(total, count), 2**total) for count in range(min(wins, losses) + 1))
    assert mcnemar(wins, losses) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)


def test_equal_models_do_not_differ() -> None:
    result = compare(OURS, OURS)
    assert (result.difference, result.low, result.high, result.p_value, result.errors_removed) == (0, 0, 0, 1, 0)


def test_comparisons_of_different_images_are_refused() -> None:
    with pytest.raises(UserError, match='same images, not on 100 and 99'):
        compare(OURS, THEIRS[:-1])
    first = dict(model='a', data='x', split='test', metrics=dict(correct=OURS))
    with pytest.raises(UserError, match='different data: x and y'):
        compare_records(first, dict(first, data='y'))
    with pytest.raises(UserError, match='evaluate it again'):
        compare_records(first, dict(first, metrics={}))
    assert compare_records(first, dict(first, metrics=dict(correct=THEIRS))).difference == pytest.approx(5.0)
