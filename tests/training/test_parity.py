"""Each task on two processes: the losses and the weights of one process with the same images in a step."""

import importlib.util
from pathlib import Path

import pytest
import torch

from fgvc_zoo.training.batch_norm import ProcessBatchNorm, share_statistics

PARITY = Path(__file__).parents[2] / 'benchmarks' / 'processes' / 'parity.py'
spec = importlib.util.spec_from_file_location('parity', PARITY)
parity = importlib.util.module_from_spec(spec)
spec.loader.exec_module(parity)


@pytest.mark.timeout(600)
@pytest.mark.parametrize('task', ['wsdan', 'wsban', 'apinet', 'osme'])  # test_processes.py has the others
def test_two_processes(task, tmp_path):
    parity.draw_pictures(tmp_path / 'photos')
    one, two = (parity.run(task, tmp_path, name, [[]] * world) for world, name in ((1, 'one'), (2, 'two')))
    difference = parity.compare(one, two)
    # rounding may move a box of WS-DAN by a pixel, which changes the weights by 1e-5 or less; other draws or pairs change the loss
    assert difference['loss'] <= 1e-5 and difference['weights'] <= 1e-4, difference


@pytest.mark.parametrize('backbone', ['test_resnet', 'test_efficientnet'])
def test_shared_statistics_are_those_of_a_batch_norm(backbone):
    """In one process they change nothing: outputs, gradients and running statistics, with activations inside and beside the norm."""
    import timm

    torch.manual_seed(0)
    plain = timm.create_model(backbone, num_classes=3).double()
    shared = timm.create_model(backbone, num_classes=3).double()
    shared.load_state_dict(plain.state_dict())
    share_statistics(shared, torch.device('cpu'))
    assert any(isinstance(module, ProcessBatchNorm) for module in shared.modules())
    assert list(shared.state_dict()) == list(plain.state_dict())
    images = torch.randn(4, 3, 64, 64, dtype=torch.float64)
    for model in (plain, shared):
        model(images).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-6, atol=1e-9, msg=name)
    for name, one in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], one, msg=name)
    torch.testing.assert_close(shared.eval()(images), plain.eval()(images))
