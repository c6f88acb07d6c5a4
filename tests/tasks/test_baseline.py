"""Plain fine-tuning."""

import timm
import torch
from torch.nn import functional as F

from fgvc_zoo.tasks import create_task


def test_loss_is_smoothed_cross_entropy():
    torch.manual_seed(0)
    model = timm.create_model('test_resnet', num_classes=3).eval()
    images, targets = torch.randn(2, 3, 64, 64), torch.tensor([2, 0])
    result = create_task('baseline', model, smoothing=0.2)(images, targets)
    log = F.log_softmax(model(images), 1)
    expected = 0.0
    for row, target in zip(log, targets, strict=True):
        expected -= (0.8 * row[target] + 0.2 * row.mean()) / 2
    torch.testing.assert_close(result['loss'], expected)
    torch.testing.assert_close(result['output'], model(images))
