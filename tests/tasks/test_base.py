"""What holds for the task of every method: its results, its state, the models it takes, several processes."""

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.models import METHODS as REGISTERED
from fgvc_zoo.tasks import TASKS, MethodTask, create_task, task_settings

METHODS = ('apinet', 'osme', 'racnn', 'wsban', 'wsdan')


def make(method, **args):
    torch.manual_seed(0)
    return create_task(method, timm.create_model(method, backbone='test_resnet', num_classes=3), **args)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 64, 64, generator=generator), torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize('method', METHODS)
def test_only_the_loss_has_a_gradient(method, batch):
    result = make(method)(*batch)
    assert [name for name, value in result.items() if value.requires_grad] == ['loss']
    assert result['output'].shape == (4, 3)
    assert all(value.ndim == 0 for name, value in result.items() if name != 'output')


CENTERS = dict(center_weight=1.0, center_beta=0.05, center_rule='ema')
DEFAULTS = dict(
    apinet=dict(margin=0.05, ranking_weight=1.0, plain_weight=0.0, hidden=512, hidden_drop=0.5, drop=0.5, normalize=False),
    osme=dict(mamc_weight=0.5, normalization='per_positive', feature_length=None),
    racnn=dict(
        margin=0.05, detach_coarse=True, first_target='peak', peak_half=0.25, proposal_steps=45, classification_steps=90, ranking_steps=30,
        ranking_weight=1.0, follow_peaks=False, window=20, tolerance=0.01),
    wsban=dict(CENTERS, distillation_weight=0.5, temperature=4.0),
    wsdan=dict(CENTERS, crop_threshold=(0.4, 0.6), drop_threshold=(0.2, 0.5), crop_padding=0.1))


def trace(task, batch):
    """Two steps, and the settings that are plain values."""
    torch.manual_seed(5)
    values = [*task(*batch).values(), *task(*batch).values()]  # the second one sees the centres that the first one moved
    settings = {name: value for name, value in vars(task).items() if isinstance(value, (bool, int, float, str, tuple))}
    return values, settings, getattr(task, 'longest', None)


@pytest.mark.parametrize('method', METHODS)
def test_without_options_a_step_is_the_documented_one(method, batch):
    plain, said = trace(make(method), batch), trace(make(method, smoothing=0.0, **DEFAULTS[method]), batch)
    torch.testing.assert_close(plain[0], said[0], rtol=0, atol=0)
    assert plain[1:] == said[1:]


@pytest.mark.parametrize('method', METHODS)
def test_the_class_of_model_is_named(method):
    name = TASKS[method].model_class.__name__
    with pytest.raises(UserError, match=f'Task trains models of class {name} with num_classes above 0, not ResNet with num_classes=1000'):
        create_task(method, timm.create_model('test_resnet'))
    with pytest.raises(UserError, match=f'not {name} with num_classes=0'):
        create_task(method, timm.create_model(method, backbone='test_resnet', num_classes=0))
    with pytest.raises(UserError, match=r'smoothing must be in \[0, 1\), not 1'):
        make(method, smoothing=1)


LIMITS = dict(
    apinet=[dict(hidden=1), dict(margin=0), dict(margin=1), dict(drop=0, hidden_drop=0)],
    osme=[dict(mamc_weight=0)], wsban=[dict(center_beta=1), dict(center_weight=0), dict(distillation_weight=0)],
    wsdan=[dict(center_beta=1), dict(center_weight=0), dict(crop_padding=0), dict(crop_threshold=(0.5, 0.5), drop_threshold=(0.01, 0.99))],
    racnn=[dict(proposal_steps=0), dict(classification_steps=1), dict(ranking_steps=0), dict(window=1), dict(margin=0), dict(margin=1),
           dict(peak_half=0.5)])


@pytest.mark.parametrize('method, options', [(name, options) for name in METHODS for options in [dict(smoothing=0), *LIMITS[name]]])
def test_the_limits_of_the_options_are_allowed(method, options):
    make(method, **options)


BEYOND = dict(
    apinet=dict(
        hidden=[0], margin=[-0.01, 1.01], ranking_weight=[-0.01], plain_weight=[-0.01], drop=[-0.01, 1, 1.01],
        hidden_drop=[-0.01, 1, 1.01]),
    osme=dict(feature_length=[-1, 0], mamc_weight=[-0.01]),
    wsdan=dict(
        center_beta=[-0.01, 0, 1.01], center_weight=[-0.01], crop_padding=[-0.01], crop_threshold=[(0, 0.5), (1, 1), (0.5, 0.4), (0.5, 1)],
        drop_threshold=[(0, 0.5), (1, 1), (0.5, 0.4), (0.5, 1)]),
    wsban=dict(center_beta=[-0.01, 0, 1.01], center_weight=[-0.01], distillation_weight=[-0.01], temperature=[-1, 0]),
    racnn=dict(
        proposal_steps=[-1], classification_steps=[0], ranking_steps=[-1], window=[0], margin=[-0.01, 1.01], peak_half=[-0.01, 0, 0.51],
        ranking_weight=[-0.01], tolerance=[-0.01]))


@pytest.mark.parametrize('method, name, value', [
    (method, name, value) for method in METHODS
    for name, values in dict(BEYOND[method], smoothing=[-0.01, 1, 1.01]).items() for value in values])
def test_what_is_beyond_the_limits_is_refused(method, name, value):
    with pytest.raises(UserError, match=f'{name} must be'):
        make(method, **{name: value})


@pytest.mark.parametrize('method', METHODS)
def test_parameters_without_a_gradient_are_looked_for_only_where_steps_train_a_part(method, monkeypatch):
    found = []
    monkeypatch.setattr('fgvc_zoo.tasks.base.DistributedDataParallel', lambda step, devices, **options: found.append(options))
    make(method).prepare_distributed()
    make(method).prepare_distributed(find_unused_parameters='as said')
    assert found == [dict(find_unused_parameters=method == 'racnn'), dict(find_unused_parameters='as said')]


@pytest.mark.parametrize('method', METHODS)
def test_finite_under_autocast(method, batch):
    images, targets = batch
    task = make(method)
    for scale in (0.0, 1.0, 1e4):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            result = task(images * scale, targets)
        result['loss'].backward()
        assert result['loss'].isfinite() and result['loss'].dtype == torch.float32
        assert all(p.grad.isfinite().all() for p in task.parameters() if p.grad is not None)


class Scaled(MethodTask):
    """A task with a layer, a parameter and a buffer beside the model."""

    def __init__(self, model, smoothing=0.0, power=2.0):
        super().__init__(model, smoothing)
        self.layer = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer('count', torch.zeros(()))

    def losses(self, images, targets):
        logits = self.trainable_module(images)
        loss = self.scale * self.criterion(self.layer(logits), targets)
        self.count += 1
        return loss, logits, dict(ce=loss)


def test_labels_are_not_smoothed_unless_asked(batch):
    model = timm.create_model('test_resnet', num_classes=3).eval()
    for arguments, smoothing in (({}, 0.0), (dict(smoothing=0.1), 0.1)):
        task = MethodTask(model, **arguments)
        loss = task.criterion(model(batch[0]), batch[1])
        torch.testing.assert_close(loss, nn.functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=smoothing))


def test_state_is_what_lies_beside_the_model(batch):
    first, second = Scaled(timm.create_model('test_resnet', num_classes=3)), Scaled(timm.create_model('test_resnet', num_classes=3))
    with torch.no_grad():
        first.scale.fill_(5)
    first(*batch)
    state = first.get_task_state()
    assert state.keys() == {'layer', 'scale', 'count'}
    second.load_task_state(state)
    second.load_task_state(None)
    assert second.scale == 5 and second.count == 1 and torch.equal(second.layer.weight, first.layer.weight)
    first(*batch)
    assert state['count'] == 1  # a copy


def test_a_state_must_be_whole_unless_said():
    task = Scaled(timm.create_model('test_resnet', num_classes=3))
    state = task.get_task_state()
    del state['layer']['bias']
    with pytest.raises(RuntimeError, match='Missing key'):
        task.load_task_state(state)
    task.load_task_state(state, strict=False)


def test_several_processes_see_the_parameters_and_buffers_of_the_task_itself(monkeypatch):
    """What DistributedDataParallel averages and sends is what it finds in the module that it wraps."""
    wrapped = []
    monkeypatch.setattr('fgvc_zoo.tasks.base.DistributedDataParallel', lambda step, devices, **options: wrapped.append(step))
    task = Scaled(timm.create_model('test_resnet', num_classes=3))
    task.prepare_distributed()
    assert {id(tensor) for tensor in task.parameters()} == {id(tensor) for tensor in wrapped[0].parameters()}
    assert {id(tensor) for tensor in task.buffers()} == {id(tensor) for tensor in wrapped[0].buffers()}


def test_the_task_of_a_registered_method(monkeypatch):
    method = SimpleNamespace(name='scaled', task=Scaled)
    monkeypatch.setitem(REGISTERED, 'scaled', method)
    assert isinstance(create_task('scaled', timm.create_model('test_resnet'), smoothing=0.1, power=3.0), Scaled)
    assert task_settings('scaled') == dict(power=2.0)


TWO_PROCESSES = '''
images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))[4 * rank:4 * rank + 4]
targets = torch.tensor([0, 1, 0, 1])

def make(method, **args):
    torch.manual_seed(0)
    model = timm.create_model(method, backbone='test_resnet', num_classes=3).eval()  # batch norms do not move
    return create_task(method, model, **args)

def gradients(task, step):
    torch.manual_seed(step)
    task.zero_grad()
    loss = task(images, targets)['loss']
    loss.backward()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in task.named_parameters()}

phases = dict(racnn=dict(proposal_steps=1, classification_steps=1, ranking_steps=1, margin=0.5))
for method in ('apinet', 'osme', 'racnn', 'wsban', 'wsdan'):
    alone, together = make(method, **phases.get(method, {})), make(method, **phases.get(method, {}))
    assert together.prepare_distributed() is together
    for step in range(3):
        mean = gradients(alone, step)
        for gradient in mean.values():
            dist.all_reduce(gradient)
            gradient /= 2
        for name, gradient in gradients(together, step).items():
            torch.testing.assert_close(gradient, mean[name], rtol=1e-3, atol=1e-6, msg=f'{method} {step} {name}')
    with together.no_sync():
        own = gradients(alone, 5)
        for name, gradient in gradients(together, 5).items():
            torch.testing.assert_close(gradient, own[name], rtol=1e-3, atol=1e-6, msg=f'{method} no_sync {name}')
    assert not any('parallel' in name for name in together.state_dict())
result = True
'''


def test_prepare_distributed_averages_gradients(two_processes):
    """As timm's train.py uses a task: every process has the mean of the gradients of both."""
    assert two_processes(TWO_PROCESSES) == [True, True]
