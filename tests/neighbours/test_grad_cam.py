"""pytorch-grad-cam on the backbone's map, which is (B, C, h, w) over any backbone."""

import numpy as np
import pytest
import timm
import torch
from pytorch_grad_cam import EigenCAM, GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from fgvc_zoo.models import METHODS


def expected_cam(model, pixels, target):
    """Selvaraju et al., equations 1 and 2, at the map's resolution, scaled to [0, 1]."""
    features = model.forward_features(pixels).detach().requires_grad_()
    model.forward_head(features)[0, target].backward()
    weights = features.grad.mean((2, 3), keepdim=True)
    cam = (weights * features).sum(1).relu()[0].detach()
    return ((cam - cam.min()) / (cam.max() - cam.min())).numpy()


@pytest.mark.parametrize('backbone', ['test_resnet', 'test_vit', 'test_convnext'])
def test_one_look(backbone, pixels):
    size = dict(img_size=64) if backbone == 'test_vit' else {}
    model = timm.create_model('wsdan', backbone=backbone, num_classes=3, num_maps=4, refine=False, **size).eval()
    with GradCAM(model, [model.backbone]) as cam:
        heat = cam(pixels, [ClassifierOutputTarget(1)])[0]
    assert heat.shape == (64, 64) and heat.min() >= 0 and heat.max() <= 1
    expected = expected_cam(model, pixels, 1)
    assert expected.std() > 0.05
    rows, columns = expected.shape
    # grad-cam enlarges it bilinearly; in the middle of each cell stands the cell's value, nearly
    cells = heat.reshape(rows, 64 // rows, columns, 64 // columns).mean((1, 3))
    assert np.corrcoef(cells.ravel(), expected.ravel())[0, 1] > 0.9


def test_two_looks_give_a_map_of_the_first(model, pixels):
    """The backbone runs twice; what is kept of it belongs to the whole picture, but its gradient is of both looks' mean."""
    with GradCAM(model, [model.backbone]) as cam:
        heat = cam(pixels, [ClassifierOutputTarget(1)])
        assert len(cam.activations_and_grads.activations) == 2
        whole = cam.activations_and_grads.activations[0]
    torch.testing.assert_close(whole, model.forward_features(pixels).detach())
    assert heat.shape == (1, 64, 64) and np.isfinite(heat).all()


@pytest.mark.parametrize('method', METHODS)
def test_every_method(method, pixels):
    model = timm.create_model(method, backbone='test_resnet', num_classes=3).eval()
    with EigenCAM(model, [model.backbone]) as cam:
        heat = cam(pixels, [ClassifierOutputTarget(0)])[0]
    assert heat.max() == pytest.approx(1, abs=0.05) and heat.std() > 0.01
    assert show_cam_on_image(np.zeros((64, 64, 3), np.float32), heat).shape == (64, 64, 3)
