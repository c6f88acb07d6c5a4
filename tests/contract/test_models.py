"""What holds for every method: each test runs over every model registered over the small backbone."""

import pytest
import timm
import torch
from torch import nn

import fgvc_zoo
from fgvc_zoo.models import Explanation, FineGrainedModel
from fgvc_zoo.recipes import load_recipe, recipe_for
from fgvc_zoo.tasks import create_task

BACKBONE = 'tf_efficientnet_lite0'
NAMES = [
    name for name in timm.list_models(f'*_{BACKBONE}') if timm.model_entrypoint(name).__module__.startswith(fgvc_zoo.__name__)]
# phases of a single step each, so that a few steps go through all of them
QUICK = {'racnn': dict(proposal_steps=1, classification_steps=1, ranking_steps=1)}

pytestmark = pytest.mark.parametrize('name', NAMES)


def make(name, **args):
    torch.manual_seed(0)
    return timm.create_model(name, **{**dict(num_classes=5), **args}).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_logits_in_both_modes(name, images):
    model = make(name)
    with torch.no_grad():
        assert model(images).shape == (2, 5)
        assert model(images[:1]).shape == (1, 5)
        assert model(torch.randn(1, 3, 64, 96)).shape == (1, 5)
        assert model.train()(images).shape == (2, 5)


def test_an_image_does_not_depend_on_its_batch(name, images):
    model = make(name)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-3, atol=1e-4)


def test_head_can_be_replaced_and_removed(name, images):
    model = make(name)
    assert isinstance(model.get_classifier(), nn.Linear)
    with torch.no_grad():
        features = model.forward_features(images)
        assert features.shape[:2] == (2, model.num_features)
        model.reset_classifier(3)
        assert model(images).shape == (2, 3) and model.num_classes == 3
        model.reset_classifier(0)
        assert model(images).shape == (2, model.head_hidden_size)
    assert make(name, num_classes=0).num_classes == 0


def test_other_input_channels_and_unknown_arguments(name):
    assert make(name, in_chans=1)(torch.zeros(1, 1, 64, 64)).shape == (1, 5)
    with pytest.raises(TypeError):
        make(name, no_such_argument=1)


def test_folder_round_trip_and_fine_tuning_from_it(name, images, tmp_path):
    model = make(name)
    timm.models.save_for_hf(model, tmp_path, safe_serialization=True)
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
    other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=7, in_chans=1).eval()
    assert other(images[:, :1]).shape == (2, 7)
    kept = dict(other.named_parameters())
    same = [key for key, value in model.named_parameters() if key in kept and torch.equal(kept[key], value)]
    assert len(same) > 0.9 * len(kept)


def test_backbone_weights_reach_the_model(name, tmp_path):
    from safetensors.torch import save_file
    torch.manual_seed(3)
    source = timm.create_model(BACKBONE)
    save_file(source.state_dict(), tmp_path / 'backbone.safetensors')
    model = make(name, pretrained_backbone=str(tmp_path / 'backbone.safetensors'))
    torch.testing.assert_close(model.backbone.model.conv_stem.weight, source.conv_stem.weight)


def test_weights_that_do_not_exist_are_an_error(name):
    with pytest.raises(fgvc_zoo.UserError, match='no trained weights'):
        timm.create_model(name.replace(BACKBONE, 'convnext_tiny'), pretrained=True)


def test_half_precision_and_autocast_stay_finite(name, images):
    with torch.no_grad():
        assert make(name).to(torch.bfloat16)(images.to(torch.bfloat16)).isfinite().all()
        model = make(name)
        for scale in (0.0, 1.0, 1e4):
            with torch.autocast('cpu', dtype=torch.bfloat16):
                assert model(images * scale).isfinite().all(), scale


def test_meta_device(name):
    model = make(name, device='meta')
    assert model(torch.zeros(2, 3, 64, 64, device='meta')).shape == (2, 5)


def test_compiles_as_one_graph(name, images):
    model = make(name)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), model(images), rtol=1e-3, atol=1e-4)


def test_export_with_any_batch_equals_eager(name, images):
    model = make(name)
    exported = torch.export.export(model, (images,), dynamic_shapes={'x': {0: torch.export.Dim('batch', min=2, max=8)}})
    more = torch.cat([images, images.flip(0)])[:3]
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(more), model(more), rtol=1e-3, atol=1e-4)


def test_layer_decay_sees_depth(name):
    model = make(name)
    match = model.group_matcher()
    parameters = dict(model.named_parameters())
    backbone = {key: match(key) for key in parameters if key.startswith('backbone.')}
    assert backbone['backbone.model.conv_stem.weight'] == 0
    assert len(set(backbone.values())) > 10
    assert match('classifier.weight') > max(backbone.values())


def test_explanation(name, images):
    model = make(name)
    explanation = model.explain(images)
    assert isinstance(explanation, Explanation)
    maps, boxes = explanation.maps, explanation.boxes
    assert maps.shape[:2] == (2, len(explanation.map_names)) and maps.dtype == torch.float32
    assert boxes.shape == (2, len(explanation.box_names), 4)
    assert (maps >= 0).all() and maps.isfinite().all()
    assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[..., 2:] > boxes[..., :2]).all()
    assert not maps.requires_grad


def test_parts_belong_to_the_prediction(name, images):
    model = make(name)
    if not hasattr(model, 'forward_passes'):
        assert type(model).forward is FineGrainedModel.forward  # a single look, nothing to take apart
        return
    with torch.no_grad():
        passes = model.forward_passes(images)
        torch.testing.assert_close(passes.combined.log_softmax(1), model(images).log_softmax(1), rtol=1e-4, atol=1e-4)
    assert passes.parts and all(part.shape == (2, 5) for part in passes.parts.values())


def test_its_task_trains_every_parameter_and_keeps_its_state(name):
    """Steps with the recipe's task reach every parameter; what the task holds survives a round trip."""
    recipe = load_recipe(recipe_for(name))
    assert recipe.name == name.partition('_')[0]
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    targets = torch.tensor([0, 0, 1, 1])
    model = make(name)
    args = {**recipe.task_args, **QUICK.get(recipe.task, {})}
    task = create_task(recipe.task, model, smoothing=0.1, **args).train()
    learned = set()
    for step in range(3):
        torch.manual_seed(step)
        result = task(images, targets)
        assert result['output'].shape == (4, 5) and result['loss'].ndim == 0 and result['loss'].isfinite()
        task.zero_grad()
        result['loss'].backward()
        learned |= {key for key, parameter in task.named_parameters() if parameter.grad is not None}
        assert all(parameter.grad.isfinite().all() for parameter in task.parameters() if parameter.grad is not None)
    assert learned == {key for key, _ in task.named_parameters()}
    other = create_task(recipe.task, make(name), smoothing=0.1, **args).train()
    other.load_task_state(task.get_task_state())
    other.trainable_module.load_state_dict(model.state_dict())
    losses = []
    for each in (task, other):
        torch.manual_seed(9)
        losses.append(each(images, targets)['loss'].detach())
    torch.testing.assert_close(losses[0], losses[1])
