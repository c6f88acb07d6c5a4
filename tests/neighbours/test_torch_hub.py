"""torch.hub: every registered model is an entry point of `hubconf.py`."""

import importlib.util
import runpy
from pathlib import Path

import pytest
import torch

from fgvc_zoo.loading import load_model
from fgvc_zoo.models import METHODS

ROOT = str(Path(__file__).parents[2])


def test_every_model_is_listed():
    registered = {name for method in METHODS.values() for name in method.model_names}
    listed = {name for name, value in runpy.run_path(f'{ROOT}/hubconf.py').items() if callable(value) and not name.startswith('_')}
    assert listed == registered
    assert {'wsdan_tf_efficientnet_lite0', *METHODS} <= registered


def test_weights_and_arguments(pixels):
    ours = load_model('wsdan_tf_efficientnet_lite0.cub200')
    theirs = torch.hub.load(
        ROOT, 'wsdan_tf_efficientnet_lite0', source='local', pretrained=True, pretrained_cfg='cub200', num_classes=200).eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(pixels), ours(pixels), rtol=0, atol=0)
    small = torch.hub.load(ROOT, 'wsdan', source='local', backbone='test_resnet', num_classes=7, num_maps=4).eval()
    assert small(pixels).shape == (1, 7)


def test_default_weights(pixels):
    theirs = torch.hub.load(ROOT, 'wsdan_tf_efficientnet_lite0', source='local', pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(theirs(pixels), load_model('wsdan_tf_efficientnet_lite0.cub200')(pixels), rtol=0, atol=0)


def test_unknown_names():
    with pytest.raises(RuntimeError, match='Cannot find callable wsdan_resnet5 in hubconf'):
        torch.hub.load(ROOT, 'wsdan_resnet5', source='local')


def test_what_it_depends_on_is_there():
    entries = runpy.run_path(f'{ROOT}/hubconf.py')
    assert {'torch', 'timm'} <= set(entries['dependencies'])
    assert all(importlib.util.find_spec(name) for name in entries['dependencies'])
