"""Means and rates of an epoch's steps."""

import pytest

from fgvc_zoo.training.meters import Meters


def test_means_and_rate():
    meters = Meters()
    for loss, correct in ((1.0, 50.0), (3.0, 100.0)):
        meters.add(dict(loss=loss, correct=correct))
    meters.seconds = 4.0
    assert meters.means() == dict(loss=2.0, correct=75.0)
    assert meters.rate(32) == pytest.approx(16)
    assert meters.describe(32) == 'loss 2.000 acc 75.0 % 16 images/s'
    assert Meters().means() == {} and Meters().rate(32) == 0
