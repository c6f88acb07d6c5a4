"""Losses in parts: the gradients are those of the sum, and a step needs the memory of one forward pass."""

import copy
import gc

import pytest
import timm
import torch

import fgvc_zoo  # noqa: F401
from fgvc_zoo.tasks import TASKS, create_task
from fgvc_zoo.tasks.base import fixed_statistics

METHODS = sorted(set(TASKS) - {'baseline'})
CASES = [(method, None) for method in METHODS if method != 'racnn'] + [
    ('racnn', phase) for phase in ('proposal', 'classification', 'ranking')]


def make(method, phase, dtype=torch.float64):
    torch.manual_seed(0)
    model = timm.create_model(method, backbone='test_resnet', num_classes=3)
    task = create_task(method, model, smoothing=0.1).to(dtype).train()
    if phase:
        task.phase = phase
    generator = torch.Generator().manual_seed(1)
    return task, torch.randn(6, 3, 64, 64, generator=generator).to(dtype), torch.tensor([0, 0, 1, 1, 2, 2])


def gradients(task):
    return {name: parameter.grad for name, parameter in task.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize(('method', 'phase'), CASES)
def test_backward_of_each_part_gives_the_gradients_of_the_sum(method, phase):
    task, images, targets = make(method, phase)
    twin = copy.deepcopy(task)
    torch.manual_seed(2)
    together = task(images, targets)
    together['loss'].backward()
    torch.manual_seed(2)
    apart = twin.step(images, targets, backward=lambda loss: loss.backward())
    assert apart.keys() == together.keys() and not apart['loss'].requires_grad
    for name, value in together.items():
        torch.testing.assert_close(apart[name], value.detach(), rtol=1e-9, atol=1e-9, msg=name)
    expected, found = gradients(task), gradients(twin)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9, msg=name)
    for (name, first), second in zip(task.state_dict().items(), twin.state_dict().values(), strict=True):
        torch.testing.assert_close(second, first, msg=name)


@pytest.mark.parametrize(('method', 'passes'), [('wsdan', 3), ('wsban', 2), ('racnn', 4), ('osme', 1), ('apinet', 1)])
def test_a_part_is_freed_before_the_next_is_computed(method, passes):
    task, images, targets = make(method, 'classification' if method == 'racnn' else None)
    saved, peaks = [0], []

    def pack(tensor):
        saved[0] += tensor.numel()
        return Saved(tensor.detach(), saved)  # with its history it would keep the graph that keeps it

    def backward(loss):
        peaks.append(saved[0])
        loss.backward()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda item: item.tensor):
        task.step(images, targets, backward)
    assert len(peaks) == passes
    gc.collect()
    # what is saved for backward never grows with the number of passes, and nothing is left at the end
    assert max(peaks) < 1.4 * peaks[0] and saved[0] == 0


class Saved:
    """A tensor kept for backward; counts its entries until autograd lets it go."""

    def __init__(self, tensor, counter):
        self.tensor, self.counter = tensor, counter

    def __del__(self):
        self.counter[0] -= self.tensor.numel()


def test_fixed_statistics():
    norm = torch.nn.BatchNorm2d(2).train()
    x = torch.randn(4, 2, 3, 3) + 5
    with fixed_statistics(norm):
        inside = norm(x)
    assert torch.equal(norm.running_mean, torch.zeros(2)) and norm.momentum == 0.1
    torch.testing.assert_close(norm(x), inside)  # both with the statistics of the batch
    assert norm.running_mean.abs().min() > 0.1


@pytest.mark.parametrize('method', ['wsdan', 'wsban', 'apinet', 'osme', 'racnn'])
def test_a_task_is_made_where_its_model_is(method):
    task, _, _ = make(method, None)
    moved = create_task(method, task.trainable_module.to('meta'))
    assert {tensor.device.type for tensor in (*moved.parameters(), *moved.buffers())} == {'meta'}
