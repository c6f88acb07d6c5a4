"""RA-CNN's training: the loss of each phase, what each phase leaves alone, the alternation and its state."""

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.layers import extent_squares, peak_squares
from fgvc_zoo.losses import inter_scale_ranking_loss
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import create_task
from fgvc_zoo.tasks.racnn import has_settled

PHASES = ('proposal', 'classification', 'ranking')


def make(num_scales=3, model_args=None, **args):
    torch.manual_seed(0)
    model = timm.create_model('racnn', backbone='test_resnet', num_classes=3, num_scales=num_scales, proposal_width=8, **(model_args or {}))
    return model, create_task('racnn', model, **args)


def in_phase(phase, **args):
    model, task = make(**args)
    task.phase = phase
    return model, task


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 1])


def learners(model):
    """Names of the parameters that a phase trains: the proposal networks', and everything else."""
    names = [name for name, _ in model.named_parameters()]
    proposals = {name for name in names if name.startswith('proposals.')}
    return proposals, set(names) - proposals


@pytest.mark.parametrize('phase', PHASES)
@pytest.mark.parametrize('num_scales', [2, 4])
def test_loss_of_each_phase(batch, phase, num_scales):
    images, targets = batch
    model, task = in_phase(phase, num_scales=num_scales, smoothing=0.1, margin=0.3, peak_half=0.2)
    task.eval()
    result = task(images, targets)
    found = model.forward_parts(images)
    entropies = [F.cross_entropy(logits, targets, label_smoothing=0.1) for logits in found.logits]
    fusion = F.cross_entropy(found.fusion, targets, label_smoothing=0.1)
    rank = inter_scale_ranking_loss(found.logits, targets, 0.3)
    distance = 0.0
    for square, features in zip(found.squares, found.maps, strict=False):
        for gap in (square - peak_squares(features, 0.2)).abs().flatten().tolist():
            distance += (gap ** 2 / 0.2 if gap < 0.1 else gap - 0.05) / len(images)
    for index, entropy in enumerate(entropies):
        torch.testing.assert_close(result[f'ce{index + 1}'], entropy)
    torch.testing.assert_close(result['fusion'], fusion)
    torch.testing.assert_close(result['rank'], rank)
    torch.testing.assert_close(result['output'], found.fusion)
    assert result['proposal'].item() == pytest.approx(distance, rel=1e-4)
    expected = dict(proposal=result['proposal'], classification=sum(entropies) + fusion, ranking=rank)[phase]
    torch.testing.assert_close(result['loss'], expected)
    assert set(result) == {'loss', 'output', 'fusion', 'rank', 'proposal', *(f'ce{index + 1}' for index in range(num_scales))}


@pytest.mark.parametrize('phase', PHASES)
def test_a_phase_trains_its_part_and_leaves_the_other_alone(batch, phase):
    images, targets = batch
    model, task = in_phase('classification', margin=0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for before in PHASES:  # so that every parameter has momentum
        task.phase = before
        task(images, targets)['loss'].backward()
        optimizer.step()
        optimizer.zero_grad()

    task.phase = phase
    model.train()
    modes = {name: module.training for name, module in model.named_modules()}
    old = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    task(images, targets)['loss'].backward()
    proposals, rest = learners(model)
    trained, untouched = (rest, proposals) if phase == 'classification' else (proposals, rest)
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradients[name] is None for name in untouched)
    assert all(gradients[name] is not None and gradients[name].isfinite().all() for name in trained)
    optimizer.step()
    for name, tensor in model.state_dict().items():
        if name in untouched or (phase != 'classification' and not name.startswith('proposals.')):
            assert torch.equal(tensor, old[name]), name  # parameters with their momentum, and batch norms
        elif name.endswith(('running_mean', 'weight')):
            assert not torch.equal(tensor, old[name]), name
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_proposals_follow_the_peaks_until_the_first_ranking(batch):
    """With `follow_peaks` the classification phase trains the proposals as the first phase does, and the networks as ever."""
    model, task = in_phase('classification', follow_peaks=True, classification_steps=1, ranking_steps=1)
    task.eval()
    gradients = {}
    for phase in ('classification', 'proposal'):
        model.zero_grad()
        task.phase = phase
        task(*batch)['loss'].backward()
        gradients[phase] = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    plain = in_phase('classification')[1].eval()
    plain(*batch)['loss'].backward()
    gradients['plain'] = {f'{name}': p.grad for name, p in plain.trainable_module.named_parameters() if p.grad is not None}
    proposals, rest = learners(model)
    for name in rest:
        torch.testing.assert_close(gradients['classification'][name], gradients['plain'][name])
    for name in proposals:
        torch.testing.assert_close(gradients['classification'][name], gradients['proposal'][name])

    task.train()
    task.phase = 'classification'
    phases = []
    for _ in range(3):
        phases.append((task.phase, task.follows))
        model.zero_grad()
        task(*batch)['loss'].backward()
    assert phases == [('classification', True), ('ranking', False), ('classification', False)]
    assert all(p.grad is None for name, p in model.named_parameters() if name in proposals)


def test_ranking_weight_scales_the_ranking_loss(batch):
    task = in_phase('ranking', margin=0.5, ranking_weight=0.25)[1].eval()
    result = task(*batch)
    torch.testing.assert_close(result['loss'], 0.25 * result['rank'])
    assert result['loss'] > 0


def test_frozen_layers_stay_frozen(batch):
    model, task = in_phase('ranking')
    model.backbones[0].model.conv1[0].weight.requires_grad_(False)
    task(*batch)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ['backbones.0.model.conv1.0.weight']


def test_each_network_learns_from_its_own_scale_and_the_joint_classifier_from_held_descriptors(batch):
    images, targets = batch
    model, task = in_phase('classification')
    task.eval()
    task(images, targets)['loss'].backward()
    together = model.backbones[0].model.conv1[0].weight.grad.clone()
    model.zero_grad()
    F.cross_entropy(model.forward_parts(images, learn_boxes=False).logits[1], targets).backward()
    torch.testing.assert_close(model.backbones[0].model.conv1[0].weight.grad, together)


def test_phases_take_turns(batch):
    _, task = make(num_scales=2, proposal_steps=2, classification_steps=3, ranking_steps=1)
    seen = []
    for _ in range(11):
        seen.append(task.phase)
        task(*batch)
    assert seen == ['proposal'] * 2 + (['classification'] * 3 + ['ranking']) * 2 + ['classification']
    task.eval()
    state = task.get_task_state()
    task(*batch)
    assert task.get_task_state() == state  # only training counts


@pytest.mark.parametrize(('lengths', 'expected'), [
    (dict(proposal_steps=0, ranking_steps=2), ['classification', 'ranking', 'ranking', 'classification']),
    (dict(proposal_steps=1, ranking_steps=0), ['proposal', 'classification', 'classification', 'classification']),
])
def test_phases_can_be_left_out(lengths, expected):
    _, task = make(num_scales=2, classification_steps=1, **lengths)
    seen = []
    for _ in expected:
        seen.append(task.phase)
        task._count(torch.tensor(1.0))
    assert seen == expected


def test_a_phase_ends_when_its_loss_has_settled():
    _, task = make(num_scales=2, proposal_steps=0, classification_steps=100, ranking_steps=100, window=3, tolerance=0.1)
    falling = [10.0 * 0.8 ** step for step in range(9)]
    for loss in falling:
        task._count(torch.tensor(loss))
    assert task.phase == 'classification' and task.steps == 9 and len(task.recent) == 6
    steps = 0
    while task.phase == 'classification':
        task._count(torch.tensor(falling[-1]))
        steps += 1
    last = falling[-5:] + [falling[-1]] * steps
    assert 1 - sum(last[-3:]) / sum(last[-6:-3]) < 0.1 < 1 - sum(last[-4:-1]) / sum(last[-7:-4])
    for _ in range(6):
        assert task.phase == 'ranking'
        task._count(torch.tensor(0.0))  # nothing left to improve: settled as soon as two windows are full
    assert task.phase == 'classification'


def test_settled_compares_two_windows():
    assert not has_settled([5.0] * 3, 2, 0.1)
    assert has_settled([5.0] * 4, 2, 0.1)
    assert has_settled([1.0, 1.0, 2.0, 2.0], 2, 0.1)  # growing is no improvement either
    assert not has_settled([9.0, 1.0, 1.0, 0.8, 0.8], 2, 0.1)
    assert has_settled([9.0, 1.0, 1.0, 0.95, 0.95], 2, 0.1)
    assert not has_settled([9.0, 9.0, 1.0, 1.0, 0.85, 0.85], 2, 0.1)  # only the last four count


def test_resumed_training_ends_with_the_same_weights(batch):
    """Nine steps at once, and four then five with everything saved and loaded between, inside a ranking phase."""
    lengths = dict(proposal_steps=1, classification_steps=2, ranking_steps=2, window=2, margin=0.5)

    def steps(model, task, optimizer, numbers):
        for number in numbers:
            torch.manual_seed(number)
            optimizer.zero_grad()
            task(*batch)['loss'].backward()
            optimizer.step()

    def start():
        model, task = make(num_scales=2, model_args=dict(drop_rate=0.2), **lengths)
        return model, task, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)

    whole = start()
    steps(*whole, range(9))
    first = start()
    steps(*first, range(4))
    assert first[1].phase == 'ranking' and first[1].steps == 1
    second = start()
    second[0].load_state_dict(first[0].state_dict())
    second[1].load_task_state(first[1].get_task_state())
    second[2].load_state_dict(first[2].state_dict())
    steps(*second, range(4, 9))
    assert second[1].get_task_state() == whole[1].get_task_state()
    for name, tensor in whole[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name]), name


@pytest.mark.parametrize('phase', PHASES)
def test_a_step_computes_each_proposal_and_the_fusion_once(batch, phase):
    model, task = in_phase(phase, num_scales=3)
    calls = []
    for name, module in [('fusion', model.fusion), *((f'proposal{i}', m) for i, m in enumerate(model.proposals))]:
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    task.train()(*batch)
    assert sorted(calls) == ['fusion', 'proposal0', 'proposal1']


class Brightness(nn.Module):
    """A network whose map is the mean brightness of what it sees."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return x.mean((1, 2, 3), keepdim=True).expand(-1, self.channels, 1, 1)


def test_ranking_moves_the_box_to_the_informative_corner():
    """The true class is sure where there is light and not where it is dark, and the light is in one corner."""
    model, task = in_phase('ranking', num_scales=2, margin=0.9, ranking_steps=1000, window=1000)
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing='ij')
    images = torch.exp(-((x - 0.8) ** 2 + (y - 0.2) ** 2) / (2 * 0.2 ** 2)).expand(2, 3, 64, 64) - 0.4
    channels = model.num_features
    model.backbones[0] = Brightness(channels)
    with torch.no_grad():
        model.classifiers[0].weight.zero_()
        model.classifiers[0].weight[1] = 8 / channels
        model.classifiers[0].bias.copy_(torch.tensor([0.0, -2.0, 0.0]))
    targets = torch.tensor([1, 1])
    optimizer = torch.optim.SGD(model.proposals.parameters(), lr=1.0, momentum=0.9)
    before = model.forward_parts(images).boxes[0, 0]
    losses = []
    for _ in range(60):
        result = task(images, targets)
        optimizer.zero_grad()
        result['loss'].backward()
        optimizer.step()
        losses.append(result['loss'].item())
    after = model.forward_parts(images).boxes[0, 0]
    center = (after[:2] + after[2:]) / 2
    assert ((before[:2] + before[2:]) / 2 - 0.5).abs().max() < 0.01
    assert center[0] > 0.65 and center[1] < 0.35
    assert after[2] - after[0] < before[2] - before[0]
    assert losses[-1] < 0.95 * losses[0]


def test_proposals_learn_to_point_at_the_peak(batch):
    model, task = in_phase('proposal', num_scales=2, proposal_steps=1000, window=1000)
    optimizer = torch.optim.SGD(model.proposals.parameters(), lr=0.3, momentum=0.9)
    losses = []
    for _ in range(40):
        result = task(*batch)
        optimizer.zero_grad()
        result['loss'].backward()
        optimizer.step()
        losses.append(result['loss'].item())
    assert losses[-1] < 0.3 * losses[0]


def test_diagnosis_follows_its_definition(batch):
    images, targets = batch
    model, task = make()
    task.eval()
    with torch.no_grad():
        for classifier in model.classifiers:
            classifier.weight.mul_(20)
        for proposal in model.proposals:  # squares that differ
            proposal.out.weight.mul_(1e4)
    values = task.diagnose(images, targets)
    found = model.forward_parts(images)
    p = [[logits[b].softmax(0)[targets[b]].item() for b in range(4)] for logits in found.logits]
    for scale in range(3):
        assert values[f'scale{scale + 1}_probability'].item() == pytest.approx(sum(p[scale]) / 4, rel=1e-4)
    for scale in (1, 2):
        share = sum(fine > coarse for fine, coarse in zip(p[scale], p[scale - 1], strict=True)) / 4
        assert values[f'scale{scale + 1}_above_scale{scale}'].item() == pytest.approx(share)
        boxes = found.boxes[:, scale - 1]
        assert values[f'scale{scale + 1}_side'].item() == pytest.approx((boxes[:, 2] - boxes[:, 0]).mean().item(), rel=1e-4)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        spread = ((centers - centers.mean(0)) ** 2).mean(0).sqrt().mean()
        assert spread > 1e-4
        assert values[f'scale{scale + 1}_spread'].item() == pytest.approx(spread.item(), rel=1e-3)
    assert not any(value.requires_grad for value in values.values())


def test_equal_scales_are_not_above_each_other(batch):
    model, task = make()
    for classifier in model.classifiers:  # of the second and the third scale
        nn.init.zeros_(classifier.weight)
        nn.init.zeros_(classifier.bias)
    values = task.eval().diagnose(*batch)
    assert values['scale2_probability'] == values['scale3_probability'] > 0
    assert values['scale3_above_scale2'] == 0


def test_refuses_impossible_lengths():
    with pytest.raises(UserError, match='classification_steps must be at least 1'):
        make(classification_steps=0)
    with pytest.raises(UserError, match='ranking_steps must be at least 0'):
        make(ranking_steps=-1)
    with pytest.raises(UserError, match=r'peak_half must be in \(0, 0.5\]'):
        make(peak_half=0.9)
    with pytest.raises(UserError, match=r'margin must be in \[0, 1\]'):
        make(margin=float('nan'))


@pytest.mark.parametrize('phase', PHASES)
def test_finite_under_autocast(batch, phase):
    images, targets = batch
    model, task = in_phase(phase, num_scales=2)
    for scale in (0.0, 1.0, 1e4):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            result = task(images * scale, targets)
        task.phase = phase
        result['loss'].backward()
        assert result['loss'].isfinite()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize('variant', [('racnn', None), ('racnn', 1), ('racnn-paper', None)])
def test_recipe_fits_the_task(variant):
    recipe = load_recipe(*variant)
    assert recipe.task == 'racnn'
    make(num_scales=2, smoothing=recipe.smoothing, model_args=recipe.model_args, **recipe.task_args)


TWO_PROCESSES = '''
images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
targets = torch.tensor([0, 1, 2, 1])
model = timm.create_model('racnn', backbone='test_resnet', num_classes=3, num_scales=2, proposal_width=8)
task = create_task('racnn', model, proposal_steps=1, classification_steps=1, ranking_steps=2)
wrapped = DistributedDataParallel(task, find_unused_parameters=True)
model.eval()  # an image then does not depend on the others
mine = slice(2 * rank, 2 * rank + 2)
gradients = []
for _ in range(3):
    wrapped.zero_grad()
    wrapped(images[mine], targets[mine])['loss'].backward()
    gradients.append({name: p.grad for name, p in model.named_parameters()})
result = gradients, task.get_task_state()
'''


def test_two_processes_have_the_gradients_and_the_phases_of_one(batch, two_processes):
    model, single = make(num_scales=2, proposal_steps=1, classification_steps=1, ranking_steps=2)
    model.eval()
    expected = []
    for _ in range(3):
        single.zero_grad()
        single(*batch)['loss'].backward()
        expected.append({name: p.grad for name, p in model.named_parameters()})
    for gradients, state in two_processes(TWO_PROCESSES):
        assert {**state, 'recent': pytest.approx(state['recent'])} == single.get_task_state()
        for have, want in zip(gradients, expected, strict=True):
            for name, gradient in want.items():
                if gradient is None:
                    assert have[name] is None, name
                else:
                    torch.testing.assert_close(have[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_only_the_first_proposal_learns_the_extent():
    _, task = in_phase('proposal', first_target='extent', peak_half=0.2)
    features, square = torch.rand(2, 4, 8, 8), torch.full((2, 3), 0.4)
    for index, target in enumerate([extent_squares(features), peak_squares(features, 0.2)]):
        expected = F.smooth_l1_loss(square, target, beta=0.1, reduction='sum') / 2
        torch.testing.assert_close(task.proposal_loss(index, features, square), expected)
