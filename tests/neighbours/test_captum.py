"""captum: attributions of one look, which is differentiable, and of two."""

import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from torch.nn.functional import avg_pool2d

from fgvc_zoo.loading import load_model


def test_integrated_gradients_add_up(model, pixels):
    """Sundararajan et al., completeness: attributions sum to the difference from the baseline. It holds for one look."""
    model.refine = False
    method = IntegratedGradients(model)
    blurred = avg_pool2d(pixels, 9, 1, 4)
    attributions = method.attribute(pixels, blurred, target=1, n_steps=256)
    with torch.inference_mode():
        difference = (model(pixels) - model(blurred))[0, 1]
    assert attributions.shape == pixels.shape and abs(difference) > 0.1
    torch.testing.assert_close(attributions.sum().float(), difference, rtol=0.05, atol=0)


def test_layers_are_found_by_attribute(model, pixels):
    model.refine = False
    features = model.forward_features(pixels).detach().requires_grad_()
    model.forward_head(features)[0, 2].backward()
    expected = (features.grad.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).detach()
    torch.testing.assert_close(LayerGradCam(model, model.backbone).attribute(pixels, target=2), expected, rtol=1e-4, atol=1e-6)


def test_occlusion_of_two_looks(run_folder, pixels):
    """What needs no gradient takes the whole inference: the attribution is the fall of the answer."""
    model = load_model(str(run_folder))
    occlusion = Occlusion(model).attribute(pixels, target=0, sliding_window_shapes=(3, 32, 32), strides=(3, 32, 32), baselines=0)
    hidden = pixels.clone()
    hidden[..., 32:, :32] = 0
    with torch.inference_mode():
        expected = (model(pixels) - model(hidden))[0, 0]
    torch.testing.assert_close(occlusion[0, 0, 40, 10], expected, rtol=1e-4, atol=1e-6)
    assert occlusion[0, 0].unique().numel() == 4
