"""Means and rates of an epoch's steps, and what they say."""

import warnings

import pytest

from fgvc_zoo.training.meters import Meters, warn_at_chance


def test_means_and_rate():
    meters = Meters()
    for loss, correct in ((1.0, 50.0), (3.0, 100.0)):
        meters.add(dict(loss=loss, correct=correct))
    meters.seconds = 4.0
    assert meters.means() == dict(loss=2.0, correct=75.0)
    assert meters.rate(32) == pytest.approx(16)
    assert meters.brief(32) == 'loss 2.000 16 images/s'
    assert meters.describe(32) == 'loss 2.000 acc 75.0 % 16 images/s'
    assert Meters().means() == {} and Meters().rate(32) == 0


@pytest.mark.parametrize(('accuracy', 'classes', 'steps', 'batch_size', 'warns'), [
    (10.5, 10, 30, 8, True), (66.0, 10, 30, 8, False), (0.6, 200, 187, 32, True), (12.0, 200, 187, 32, False), (50.0, 2, 10, 1, False),
    (10.5, 10, 10, 24, True), (10.5, 10, 9, 240, False)])
def test_training_at_chance_is_said(accuracy, classes, steps, batch_size, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        warn_at_chance(accuracy, classes, steps, batch_size)
    assert bool(caught) == warns
    assert not warns or 'no better than guessing' in str(caught[0].message)
