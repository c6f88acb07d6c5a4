"""What WS-DAN and WS-BAN share: two passes, each with one attention convolution."""

import pytest
import timm
import torch

from fgvc_zoo import UserError


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
    dict(num_maps=0), dict(refine_threshold=0), dict(refine_threshold=1), dict(refine_padding=-0.1), dict(feature_scale=0)])
def test_numbers_out_of_range_are_named(changes):
    with pytest.raises(UserError, match=next(iter(changes))):
        timm.create_model('wsdan', backbone='test_resnet', **changes)
