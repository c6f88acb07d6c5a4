"""A prediction with an explanation that is made up."""

from pathlib import Path

import pytest
import torch

from fgvc_zoo.models import Explanation
from fgvc_zoo.prediction import Prediction

NAMES = ['gala', 'kiwi', 'leek', 'lime', 'pear']


@pytest.fixture
def cfg():
    return dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), architecture='some_model')


@pytest.fixture
def prediction():
    """Makes a prediction with some parts of the attention, some boxes and the predictions of some looks."""
    def make(parts=0, boxes=1, looks=0, names=NAMES, path='a photo.jpg', **changes):
        generator = torch.Generator().manual_seed(0)
        maps = torch.rand(1, 1 + parts, 4, 4, generator=generator)
        corners = torch.tensor([0.2, 0.3, 0.7, 0.9]).expand(1, boxes, 4)
        explanation = Explanation(
            maps, corners, ['whole', *(f'part {index}' for index in range(parts))], [f'box {index}' for index in range(boxes)])
        probabilities = [0.5 / 2 ** rank for rank in range(len(names))]
        settings = dict(
            names=list(names), probabilities=probabilities, view=2 * torch.rand(1, 3, 64, 64, generator=generator) - 1,
            explanation=explanation, looks={f'look {index}': list(zip(names, probabilities, strict=True)) for index in range(looks)})
        return Prediction(Path(path), **{**settings, **changes})
    return make
