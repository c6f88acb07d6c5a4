"""What WS-DAN and WS-BAN share: two passes, each with one attention convolution."""

import pytest
import timm
import torch

from fgvc_zoo import UserError
from fgvc_zoo.layers import crop_boxes


@pytest.mark.parametrize('method', ['wsdan', 'wsban'])
@pytest.mark.parametrize(('refine', 'passes'), [(True, 2), (False, 1)])
def test_backbone_and_attention_run_once_a_pass(method, refine, passes):
    model = timm.create_model(method, backbone='test_resnet', num_classes=3, num_maps=4, refine=refine).eval()
    calls = dict(backbone=0, attention=0)
    for name in calls:
        getattr(model, name).register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    assert calls == dict(backbone=passes, attention=passes)


@pytest.mark.parametrize('changes', [
    dict(num_maps=0), dict(refine_threshold=0), dict(refine_threshold=1), dict(refine_padding=-0.1), dict(feature_scale=0),
    dict(pass_size=-1)])
def test_numbers_out_of_range_are_named(changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        timm.create_model('wsdan', backbone='test_resnet', **changes)


@pytest.mark.parametrize('method', ['wsdan', 'wsban'])
@torch.no_grad()
def test_a_sharp_second_pass_cuts_the_object_from_the_large_image(method):
    """The network sees 128 px. The first pass gets means of 2 x 2 pixels; the second the object from the image of 256 px."""
    torch.manual_seed(0)
    args = dict(backbone='test_resnet', num_classes=3, num_maps=4, refine_threshold=0.95)
    model = timm.create_model(method, **args, pass_size=128).eval()
    images = torch.randn(2, 3, 256, 256)
    seen = []
    model.backbone.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    passes = model.forward_passes(images)
    small = images.unflatten(2, (128, 2)).unflatten(4, (128, 2)).mean((3, 5))
    torch.testing.assert_close(seen[0], small)
    crops = crop_boxes(images, passes.boxes, 256, 256)
    torch.testing.assert_close(seen[1], crops.unflatten(2, (128, 2)).unflatten(4, (128, 2)).mean((3, 5)))
    torch.testing.assert_close(model(images), passes.combined)
    logits, explanation = model.forward_explained(images)
    torch.testing.assert_close(logits, passes.combined)
    torch.testing.assert_close(explanation.boxes[:, 0], passes.boxes)
    assert list(explanation.looks) == ['whole image', 'object']
    torch.testing.assert_close([*explanation.looks.values()], [*passes.parts.values()])
    torch.testing.assert_close(model.explain(images).maps, explanation.maps)
    model.refine = False
    torch.testing.assert_close(model(images), passes.parts['raw'])
    single = model.forward_passes(images)
    torch.testing.assert_close(single.combined, passes.parts['raw'])
    torch.testing.assert_close(single.boxes, passes.boxes)
    assert not single.parts
    logits, explanation = model.forward_explained(images)
    torch.testing.assert_close(logits, passes.parts['raw'])
    assert not explanation.looks
    assert (passes.boxes != torch.tensor([0.0, 0, 1, 1])).any()  # else the second pass shows nothing new
