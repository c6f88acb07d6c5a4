"""Temperatures and thresholds against a search on a grid, closed forms and counts."""

import dataclasses
import math

import pytest
import torch

from fgvc_zoo._errors import UserError
from fgvc_zoo.calibration import Calibration, calibration_of, familiarity, fit_calibration, fit_temperature, read_calibration


def answers(count=2000, classes=7, temperature=0.4):
    """Logits whose softmax at a temperature is exactly the distribution of the classes."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(count, classes, generator=generator)
    return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


def softened_loss(logits, targets, temperature):
    """By the definition: the true class gets all of the target but 1 / (N + 2), which all classes share."""
    count, classes = logits.shape
    share = 1 / (count + 2)
    target = torch.full((count, classes), share / classes, dtype=torch.float64)
    target[torch.arange(count), targets] += 1 - share
    return -(target * (logits.double() / temperature).log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize('temperature', [0.3, 1.0, 2.5])
def test_the_temperature_has_the_least_loss_of_a_grid(temperature):
    logits, targets = answers(temperature=temperature)
    grid = torch.linspace(-2, 2, 401).exp()
    losses = torch.stack([softened_loss(logits, targets, value) for value in grid])
    fitted = fit_temperature(logits, targets)
    assert abs(math.log(fitted / grid[losses.argmin()].item())) < 0.011
    assert softened_loss(logits, targets, fitted) <= losses.min() + 1e-9
    assert abs(math.log(fitted / temperature)) < 0.15  # the one that the classes were drawn with


def test_two_classes_have_a_closed_form():
    """Equal margins m, a share p of the softened targets right: the best temperature gives sigmoid(m / T) = p."""
    logits = torch.tensor([[1.0, 0.0]] * 100)
    targets = torch.tensor([0] * 80 + [1] * 20)
    p = 0.8 * (1 - 1 / 102) + 0.5 / 102
    assert fit_temperature(logits, targets) == pytest.approx(1 / math.log(p / (1 - p)), abs=1e-4)


@pytest.mark.parametrize('size', [1.0, 100.0])
@pytest.mark.parametrize('count', [4, 8, 400])
def test_a_model_that_is_always_right_becomes_as_sure_as_the_number_of_photographs_allows(count, size):
    logits = size * torch.eye(4).repeat(count // 4, 1)
    sure = fit_calibration(logits, torch.arange(count) % 4).probabilities(logits).amax(1)
    expected = 1 - 1 / (count + 2) + 1 / (count + 2) / 4
    torch.testing.assert_close(sure, torch.full((count,), expected), rtol=0, atol=2e-3)


def test_a_model_that_is_always_wrong_becomes_unsure():
    logits = torch.eye(4)
    assert fit_calibration(logits, torch.arange(4).roll(1)).temperature == pytest.approx(math.exp(5), rel=1e-3)


def test_the_order_of_classes_and_the_logits_stay():
    logits, targets = answers()
    before = logits.clone()
    fitted = fit_calibration(logits, targets)
    assert torch.equal(logits, before)
    assert torch.equal(fitted.probabilities(logits).argsort(1), logits.argsort(1))
    torch.testing.assert_close(fitted.probabilities(logits).sum(1), torch.ones(len(logits)))


def test_log_probabilities_and_logits_are_calibrated_alike():
    """The two-look methods answer with log probabilities."""
    logits, targets = answers()
    first, second = fit_calibration(logits + 3, targets), fit_calibration(logits.log_softmax(1), targets)
    assert first == second


@pytest.mark.parametrize('count', [99, 100, 500, 2000])
def test_the_threshold_keeps_99_percent(count):
    logits, targets = answers(count)
    fitted = fit_calibration(logits, targets)
    below = fitted.unknown(logits).sum().item()
    assert below <= 0.01 * (count + 1)
    assert fitted.images == count
    if count > 100:
        assert (familiarity(logits) < fitted.threshold + 1e-4).float().mean().item() == pytest.approx(0.01, abs=2 / count)


@pytest.mark.parametrize(('classes', 'count'), [(3, 1), (10, 1), (19, 1), (20, 2), (81, 8), (200, 10)])
def test_familiarity_is_the_sum_of_the_highest_probabilities(classes, count):
    logits = 3 * torch.randn(6, classes)
    for row, value in zip(logits.tolist(), familiarity(logits).tolist(), strict=True):
        weights = sorted((math.exp(logit) for logit in row), reverse=True)
        assert value == pytest.approx(sum(weights[:count]) / sum(weights), rel=1e-5)


def test_two_similar_classes_are_familiar_and_a_stranger_is_not():
    logits = torch.zeros(2, 30)
    logits[0, :2] = 10
    logits[1, 0] = 3.5
    assert familiarity(logits)[0] > 0.99 and familiarity(logits)[1] < 0.6
    assert logits.softmax(1)[0].max() < logits.softmax(1)[1].max() + 0.1  # the highest probability alone does not tell them apart


def test_few_photographs_keep_everything():
    assert fit_calibration(*answers(98)).threshold == 0


def test_the_likelihood_is_finite_where_a_probability_rounds_to_0():
    logits, targets = torch.tensor([[300.0, 0.0], [300.0, 0.0]]), torch.tensor([0, 1])
    calibration = Calibration(temperature=0.5)
    assert calibration.probabilities(logits)[1, 1] == 0
    assert calibration.nll(logits, targets) == pytest.approx(300)
    assert str(calibration.nll(logits[:1], targets[:1])) == '0.0'  # not -0.0


def test_nothing_to_fit_on_is_refused():
    with pytest.raises(UserError, match='there are none'):
        fit_calibration(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize('change', [
    dict(temperature=0.0), dict(temperature=-1.0), dict(temperature=math.nan), dict(temperature=math.inf), dict(temperature='1'),
    dict(threshold=1.1), dict(threshold=math.nan), dict(images=-1)])
def test_values_out_of_range_are_named(change):
    with pytest.raises(UserError, match=f'the {next(iter(change))} of a calibration must be'):
        read_calibration({**dataclasses.asdict(Calibration()), **change})


@pytest.mark.parametrize('values', [[], 'no', {}, dict(temperature=1.0), dict(temperature=1.0, threshold=0.0, images=1, more=2)])
def test_other_entries_are_refused(values):
    with pytest.raises(UserError, match='temperature, threshold and images'):
        read_calibration(values)


def test_without_a_calibration_probabilities_are_the_softmax():
    logits = torch.randn(3, 5)
    assert read_calibration(None) == Calibration() == calibration_of(torch.nn.Identity())
    torch.testing.assert_close(Calibration().probabilities(logits), logits.softmax(1))


def test_a_threshold_is_below_1():
    """Photographs that are as sure as rounding allows do not make all others strangers."""
    logits = 30 * torch.eye(3)[torch.arange(200) % 3]
    calibration = fit_calibration(logits, torch.arange(200) % 3)
    assert calibration.threshold == 0.9999
    assert not calibration.unknown(torch.tensor([[12.0, 0, 0]])).any() and calibration.unknown(torch.tensor([[3.0, 0, 0]])).all()
