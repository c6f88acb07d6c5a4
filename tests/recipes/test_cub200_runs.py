"""What the runs on the whole of CUB-200-2011 were trained with: their recipes must not change when a default does."""

import importlib.util
from pathlib import Path

import pytest
import timm

from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.tasks import task_settings
from fgvc_zoo_cli.train import parse_changes

SCRIPT = Path(__file__).parents[2] / 'benchmarks/accuracy/train_cub200.py'
# as in the run.json of the plain baseline
BASELINE = dict(
    task_args={}, model_args={}, input_size=448, crop_pct=0.875, crop_mode='center', epochs=8, batch_size=32, accumulate=1,
    images_per_class=None, similar_classes=1, early_epochs=0, early_scale=0.7, class_weights=None,
    optimizer='sgd', lr=0.01, weight_decay=1e-4, momentum=0.9, layer_decay=0.9, frozen_below=0.3, frozen_epochs=0, freeze_bn=True,
    head_lr_scale=10, new_lr_scale=1, warmup_epochs=1, schedule='cosine', min_lr=0.01, smoothing=0.1, ema_decay=0.99, clip_grad=None,
    augmentation=dict(
        scale=(0.35, 1.0), ratio=(0.75, 4 / 3), hflip=0.5, color_jitter=0.2, auto_augment=None, random_erasing=0.0, style='resized_crop'))
CENTERS = dict(center_weight=1.0, center_beta=0.05, center_rule='ema')
# what differs in the other runs' run.json
RECORDED = {
    'baseline': {},
    'plain': dict(
        layer_decay=1, frozen_below=None, freeze_bn=False, smoothing=0, ema_decay=None, crop_mode='squash',
        augmentation={**BASELINE['augmentation'], 'color_jitter': 0, 'style': 'resize_crop'}),
    'wsdan': dict(
        model_args=dict(refine_threshold=0.4), head_lr_scale=0.1,
        task_args=dict(CENTERS, crop_threshold=(0.4, 0.6), drop_threshold=(0.2, 0.5), crop_padding=0.1)),
    'wsban': dict(
        model_args=dict(refine_threshold=0.3), head_lr_scale=0.1, task_args=dict(CENTERS, distillation_weight=0.5, temperature=4.0)),
    'apinet': dict(
        batch_size=64, images_per_class=2, lr=0.014,
        task_args=dict(margin=0.05, ranking_weight=5, plain_weight=1, hidden=512, hidden_drop=0.5, drop=0.5, normalize=True)),
    'osme': dict(
        images_per_class=2, head_lr_scale=30, new_lr_scale=4, clip_grad=5,
        task_args=dict(mamc_weight=0.2, normalization='per_positive', feature_length=None)),
    'racnn': dict(
        model_args=dict(joint='mean', proposal_channels=32, crop_size=320), new_lr_scale=10,
        augmentation={**BASELINE['augmentation'], 'scale': (0.6, 1.0)},
        task_args=dict(
            margin=0.05, detach_coarse=True, peak_half=0.35, proposal_steps=90, classification_steps=300, ranking_steps=60,
            ranking_weight=0.1, follow_peaks=True, window=20, tolerance=0.01, first_target='extent')),
}


@pytest.fixture(scope='module')
def runs():
    spec = importlib.util.spec_from_file_location('train_cub200', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RUNS


@pytest.mark.parametrize('name', RECORDED)
def test_a_run_gets_the_recorded_recipe(runs, name):
    assert runs.keys() == RECORDED.keys()
    model, recipe, changes = runs[name]
    built = load_recipe(recipe, 5994).replace(input_size=448, epochs=8, **parse_changes(changes))
    built = built.replace(task_args={**task_settings(built.task), **built.task_args}).for_model(timm.get_pretrained_cfg(model).to_dict())
    found = built.to_dict()
    assert {key: found[key] for key in BASELINE} == {**BASELINE, **RECORDED[name]}
    assert found.keys() - BASELINE.keys() == {'name', 'task', 'decay_epochs', 'decay_rate'}  # steps are not in use
