"""API-Net's training step against loops written from the formula, its health checks and its state."""

import math

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.losses import score_ranking_loss
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import create_task

# two of each, unequal classes, one image alone, every image alone, a single class, a single image
LABELS = [[0, 1, 0, 1], [2, 0, 2, 2, 0, 2], [0, 1, 0, 1, 2], [2, 1, 0], [1, 1, 1], [2]]


def make(**args):
    torch.manual_seed(0)
    model = timm.create_model('apinet', backbone='test_resnet', num_classes=3)
    return model, create_task('apinet', model, **{**dict(hidden=16), **args})


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 3, 64, 64, generator=generator), torch.tensor([0, 1, 2, 1, 0, 2, 1, 1])


def naive_pairs(features, targets):
    """(anchor, partner) of every pair that exists."""
    pairs = []
    for same in (True, False):
        for i, anchor in enumerate(features):
            others = [
                ((anchor - other).square().sum().item(), j) for j, other in enumerate(features)
                if j != i and (targets[j] == targets[i]) == same]
            if others:
                pairs.append((i, min(others)[1]))
    return pairs


def naive_rows(task, features, targets):
    """(label, logits under the own gate, logits under the other's gate) of both images of every pair."""
    layer, classifier = task.interaction, task.trainable_module.classifier
    rows = []
    for pair in naive_pairs(features, targets):
        x = [features[i] for i in pair]
        mutual = layer.expand.weight @ (layer.reduce.weight @ torch.cat(x) + layer.reduce.bias) + layer.expand.bias
        gate = [1 / (1 + torch.exp(-mutual * x[k])) for k in range(2)]
        for k in range(2):
            logits = [classifier.weight @ (x[k] + x[k] * g) + classifier.bias for g in (gate[k], gate[1 - k])]
            rows.append((targets[pair[k]], *logits))
    return rows


def naive_losses(rows, smoothing, margin):
    """Cross-entropy and ranking regularisation, term by term in floats."""
    entropies, rankings = [], []
    for label, *both in rows:
        scores = []
        for logits in both:
            exponentials = [math.exp(value) for value in logits.tolist()]
            p = [value / sum(exponentials) for value in exponentials]
            wanted = [smoothing / len(p) + (1 - smoothing) * (k == label) for k in range(len(p))]
            entropies.append(-sum(q * math.log(value) for q, value in zip(wanted, p, strict=True)))
            scores.append(p[label])
        rankings.append(max(0.0, scores[1] - scores[0] + margin))
    return sum(entropies) / max(len(entropies), 1), sum(rankings) / max(len(rankings), 1)


@pytest.mark.parametrize('targets', LABELS)
@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_step_equals_the_loops(targets, smoothing):
    model, task = make(smoothing=smoothing, margin=0.3, ranking_weight=0.7, plain_weight=0.2)
    task.double().eval()
    for seed in range(3):
        images = torch.randn(len(targets), 3, 64, 64, generator=torch.Generator().manual_seed(seed)).double()
        if seed == 2:
            images[-1] = images[0]  # the same photograph twice, within a class or across
        result = task(images, torch.tensor(targets))
        with torch.no_grad():
            features = model.forward_parts(images).features
            rows = naive_rows(task, features, targets)
        ce, rank = naive_losses(rows, smoothing, 0.3)
        plain = F.cross_entropy(model(images), torch.tensor(targets), label_smoothing=smoothing)
        assert result['ce'].item() == pytest.approx(ce, rel=1e-9)
        assert result['rank'].item() == pytest.approx(rank, rel=1e-9)
        assert result['loss'].item() == pytest.approx(ce + 0.7 * rank + 0.2 * plain.item(), rel=1e-9)
        torch.testing.assert_close(result['output'], model(images))
        # a class of one and a batch of one class leave pairs out
        alone = sum(targets.count(label) == 1 for label in targets)
        count = 2 * len(targets) - alone - (len(targets) if len(set(targets)) == 1 else 0)
        assert len(rows) == 2 * count


def test_defaults_are_the_paper():
    _, task = make(hidden=512)
    assert (task.margin, task.ranking_weight, task.plain_weight) == (0.05, 1.0, 0.0)
    assert task.drop.p == task.interaction.drop.p == 0.5
    width = task.trainable_module.num_features
    assert task.interaction.reduce.weight.shape == (512, 2 * width)
    assert task.interaction.expand.weight.shape == (width, 512)


def test_the_order_of_the_batch_does_not_matter(batch):
    images, targets = batch
    _, task = make()
    task.double().eval()
    order = torch.tensor([5, 2, 7, 0, 3, 6, 1, 4])
    first, second = task(images.double(), targets), task(images[order].double(), targets[order])
    for name in ('loss', 'ce', 'rank'):
        torch.testing.assert_close(first[name], second[name])


def test_equal_photographs_of_a_class_cost_the_margin(batch):
    """Their gates are equal, so p_self = p_other."""
    images, _ = batch
    _, task = make()
    task.eval()
    same, targets = images[:1].expand(4, -1, -1, -1), torch.ones(4, dtype=torch.long)
    assert task(same, targets)['rank'].item() == pytest.approx(0.05, rel=1e-4)
    found = task.diagnose(same, targets)
    torch.testing.assert_close(found['p_self'], found['p_other'])


@pytest.mark.parametrize(('rates', 'varies'), [((0.5, 0.0), True), ((0.0, 0.5), True), ((0.0, 0.0), False)])
def test_dropout_is_for_pairs_and_not_for_the_output(batch, rates, varies):
    model, task = make(hidden_drop=rates[0], drop=rates[1])
    task.train()
    model.eval()  # the same features every time
    first, second = task(*batch), task(*batch)
    assert (first['ce'] != second['ce']) == varies
    torch.testing.assert_close(first['output'], model(batch[0]))


@pytest.mark.parametrize('targets', LABELS)
def test_gradient(targets):
    _, task = make(drop=0.0, hidden_drop=0.0, margin=0.3, hidden=4)
    task.double()
    task.trainable_module.classifier = torch.nn.Linear(3, 3).double()
    task.interaction = type(task.interaction)(3, 4, 0.0).double()
    labels = torch.tensor(targets)

    def losses(features):
        logits, found = task.pair_logits(features, labels)
        return (task.cross_entropy(logits, found[:, :, None].expand(-1, -1, 2)),
                score_ranking_loss(logits[:, :, 0], logits[:, :, 1], found, task.margin))

    assert torch.autograd.gradcheck(losses, (torch.randn(len(targets), 3, dtype=torch.double, requires_grad=True),))


def test_every_parameter_learns_in_one_step_and_only_the_pair_module_is_the_tasks(batch):
    model, task = make()
    task(*batch)['loss'].backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in task.parameters())
    assert all(parameter.grad.any() for parameter in task.interaction.parameters())
    own = {id(parameter) for parameter in task.parameters()} - {id(parameter) for parameter in model.parameters()}
    assert own == {id(parameter) for parameter in task.interaction.parameters()}


def test_a_batch_without_pairs_costs_nothing_and_still_has_gradients(batch):
    """A single image has no partner at all; data parallel training needs every gradient to exist."""
    images, targets = batch
    _, task = make()
    task.trainable_module.eval()
    result = task(images[:1], targets[:1])
    assert result['loss'] == 0
    result['loss'].backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in task.parameters())
    assert all(value == 0 for value in task.diagnose(images[:1], targets[:1]).values())


def test_a_few_steps_lower_the_loss(batch):
    images, targets = batch
    _, task = make()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.02, momentum=0.9)
    first = task(images, targets)
    for _ in range(40):
        result = task(images, targets)
        optimizer.zero_grad()
        result['loss'].backward()
        optimizer.step()
    assert result['loss'] < 0.3 * first['loss']
    assert (result['output'].argmax(1) == targets).all()  # the plain inference has learnt it too


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_cross_entropy_sums_in_float32(dtype):
    _, task = make(smoothing=0.1)
    logits, labels = torch.randn(4000, 3).to(dtype), torch.arange(4000) % 3
    expected = F.cross_entropy(logits.float(), labels, label_smoothing=0.1)
    torch.testing.assert_close(task.cross_entropy(logits, labels), expected)


def test_state_round_trip(batch):
    images, targets = batch
    model, task = make()
    with torch.no_grad():
        for parameter in task.interaction.parameters():
            parameter.add_(0.5)
    _, other = make()
    task.eval()
    other.eval()
    assert task(images, targets)['ce'] != other(images, targets)['ce']
    other.load_task_state(task.get_task_state())
    assert task(images, targets)['ce'] == other(images, targets)['ce']
    assert not any('interaction' in name for name in model.state_dict())


def test_diagnosis_equals_the_loops(batch):
    images, targets = batch
    model, task = make()
    task.eval()
    found = task.diagnose(images, targets)
    with torch.no_grad():
        rows = naive_rows(task, model.forward_parts(images).features, targets.tolist())
    scores = torch.stack([torch.stack([logits.softmax(0)[label] for logits in both]) for label, *both in rows])
    assert set(found) == {'p_self', 'p_other', 'self_above_other'}
    torch.testing.assert_close(found['p_self'], scores[:, 0].mean())
    torch.testing.assert_close(found['p_other'], scores[:, 1].mean())
    torch.testing.assert_close(found['self_above_other'], (scores[:, 0] > scores[:, 1]).float().mean())
    assert not found['p_self'].requires_grad


def test_equal_gates_are_not_above_each_other(batch):
    _, task = make(hidden=1)
    nn.init.zeros_(task.interaction.expand.weight)  # with the bias, a mutual vector of zeros: both gates are one half
    nn.init.zeros_(task.interaction.expand.bias)
    found = task.eval().diagnose(*batch)
    assert found['p_self'] == found['p_other'] > 0 and found['self_above_other'] == 0


def test_refuses_options_out_of_range():
    with pytest.raises(UserError, match="did you mean 'ranking_weight'"):
        make(rank_weight=1)
    for args in (dict(drop=1.0), dict(hidden_drop=-0.1), dict(hidden=0), dict(margin=-3)):
        with pytest.raises(UserError, match=f'{next(iter(args))} must be'):
            make(**args)


@pytest.mark.parametrize('variant', [('apinet', None), ('apinet', 1), ('apinet-paper', None)])
def test_recipe_fits_the_task(variant):
    recipe = load_recipe(*variant)
    assert recipe.task == 'apinet'
    assert recipe.batch_size % recipe.images_per_class == 0
    make(smoothing=recipe.smoothing, **recipe.task_args)
