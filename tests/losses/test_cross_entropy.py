import pytest
import torch
from torch import nn

from fgvc_zoo.losses import WeightedCrossEntropy, balanced_weights


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_the_mean_over_images_of_weighted_terms(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    targets, weights = torch.tensor([0, 1, 1, 3, 2, 0]), torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
    expected = 0.0
    for row, target in zip(logits.log_softmax(1), targets.tolist(), strict=True):
        truth = torch.full((4,), smoothing / 4, dtype=torch.float64)
        truth[target] += 1 - smoothing
        expected = expected - weights[target] * sum(truth[k] * row[k] for k in range(4)) / 6
    loss = WeightedCrossEntropy(weights, label_smoothing=smoothing)(logits, targets)
    torch.testing.assert_close(loss, expected)
    # two processes with three images each have the loss of one with all
    halves = [WeightedCrossEntropy(weights, label_smoothing=smoothing)(part, labels) for part, labels in zip(
        logits.chunk(2), targets.chunk(2), strict=True)]
    torch.testing.assert_close(torch.stack(halves).mean(), loss)


def test_weights_do_not_change_which_class_is_the_most_probable_for_an_image():
    """The least loss for an image is at the smoothed truth, whatever the classes weigh."""
    weights, smoothed = balanced_weights([0] * 950 + [1] * 50, 2), torch.tensor([[0.95, 0.05]])
    logits = smoothed.log().requires_grad_()
    WeightedCrossEntropy(weights, label_smoothing=0.1)(logits, torch.tensor([0])).backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 2), atol=1e-6, rtol=0)


def test_a_label_that_does_not_count_is_0():
    criterion = WeightedCrossEntropy(torch.tensor([0.5, 2.0, 1.0]), label_smoothing=0.1)
    logits = torch.randn(3, 3)
    terms = criterion.terms(logits, torch.tensor([1, -100, 0]))
    assert terms[1] == 0 and terms[0] == 2 * WeightedCrossEntropy(label_smoothing=0.1).terms(logits, torch.tensor([1, 1, 1]))[0]


def test_without_weights_it_is_the_plain_one():
    logits, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 2, 2])
    plain = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, targets)
    assert torch.equal(WeightedCrossEntropy(label_smoothing=0.1)(logits, targets), plain)


def test_balanced_weights():
    targets = [0] * 6 + [1] * 3 + [3]
    weights = balanced_weights(targets, 4)
    torch.testing.assert_close(weights, torch.tensor([10 / 18, 10 / 9, 0, 10 / 3]))
    assert sum(weights[target].item() for target in targets) == pytest.approx(10)
    assert balanced_weights([0, 1, 0, 1], 2).tolist() == [1, 1]
