"""torchmetrics on a model's answers gives the figures of `fgvc_zoo.evaluation`."""

import pytest
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from fgvc_zoo.data import ImageFolder
from fgvc_zoo.evaluation import evaluate
from fgvc_zoo.loading import eval_transform_for


def test_figures_agree(model, photos):
    dataset = ImageFolder(photos, 'train', eval_transform_for(model))
    metrics = MetricCollection(dict(
        top1=MulticlassAccuracy(3, average='micro'), top2=MulticlassAccuracy(3, top_k=2, average='micro'),
        mean_per_class=MulticlassAccuracy(3, average='macro'), ece=MulticlassCalibrationError(3, n_bins=15)))
    loader = torch.utils.data.DataLoader(dataset, 4)
    with torch.inference_mode():
        for images, targets in loader:
            metrics.update(model(images).softmax(1), targets)
    values, expected = {key: value.item() for key, value in metrics.compute().items()}, evaluate(model, dataset)
    assert 0 < values['top1'] < 1 and values['top1'] <= values['top2'] <= 1
    for key in ('top1', 'mean_per_class'):
        assert 100 * values[key] == pytest.approx(expected[key], abs=1e-3)
    assert values['ece'] == pytest.approx(expected['ece'], abs=1e-4)
