"""The mean of several predictions."""

import pytest
import torch

from fgvc_zoo.layers import mean_prediction


def test_is_of_probabilities_not_of_logits():
    first, second = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.4, 0.6]]).log()
    torch.testing.assert_close(mean_prediction([first, second]).exp(), torch.tensor([[0.65, 0.35]]))


@pytest.mark.parametrize('count', [1, 2, 3])
def test_equals_the_loop(count):
    logits = [torch.randn(2, 4, dtype=torch.float64) for _ in range(count)]
    mean = mean_prediction(logits).exp()
    for row in range(2):
        for label in range(4):
            parts = [single[row, label].exp().item() / sum(value.exp().item() for value in single[row]) for single in logits]
            assert mean[row, label].item() == pytest.approx(sum(parts) / count, rel=1e-5)


def test_huge_logits_stay_finite():
    huge = torch.tensor([[1e4, 0.0]])
    assert mean_prediction([huge, huge]).isfinite().all()
    assert mean_prediction([huge.bfloat16()] * 3).dtype == torch.bfloat16
