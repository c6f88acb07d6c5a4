"""The manifest against the files, and every checkpoint against its golden logits."""

import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch

from fgvc_zoo import UserError
from fgvc_zoo.checkpoints import golden_input, load_manifest
from fgvc_zoo.saving import save_model

ITEMS = load_manifest()
ROOT = Path(__file__).parents[2]


def test_there_are_checkpoints():
    assert {'wsdan_tf_efficientnet_lite0.grocery81', 'wsdan_tf_efficientnet_lite0.cub200'} <= {item.name for item in ITEMS}
    for architecture in {item.architecture for item in ITEMS}:
        in_package = [item for item in ITEMS if item.architecture == architecture and item.in_package]
        assert sum(item.default for item in in_package) == bool(in_package)


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_files_are_what_the_manifest_says(item):
    content = item.file.read_bytes()
    assert len(content) == item.size <= 40_000_000
    assert hashlib.sha256(content).hexdigest() == item.sha256
    names = item.label_names()
    assert len(names) == len(set(names)) == item.num_classes
    assert all(names)
    assert {'top1', 'top5', 'mean_per_class'} <= item.metrics.keys()
    assert all(0 < value <= 100 for value in item.metrics.values())


def load(item, **args):
    return timm.create_model(item.name if item.in_package else f'local-dir:{item.file.parent}', pretrained=True, **args).eval()


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_golden_logits(item):
    """Loaded through timm, the weights answer a fixed image as they did when they were measured."""
    model = load(item)
    with torch.no_grad():
        logits = model(golden_input(item.input_size))[0]
    torch.testing.assert_close(logits[:len(item.golden)], torch.tensor(item.golden), rtol=1e-3, atol=1e-3)
    assert len(item.golden) >= 10


def test_what_weights_were_made_with_wins_over_defaults_and_choices_win_over_both(monkeypatch, tmp_path):
    monkeypatch.setattr('fgvc_zoo.models.registry.model_args', lambda architecture, tag: dict(num_maps=4, refine_threshold=0.25))
    name = 'wsdan_tf_efficientnet_lite0.cub200'
    default, trained = timm.create_model(name.partition('.')[0]), timm.create_model(name)
    assert (default.num_maps, default.refine_threshold) == (16, 0.5)
    assert (trained.num_maps, trained.refine_threshold) == (4, 0.25)
    chosen = timm.create_model(name, refine_threshold=0.4)
    assert (chosen.num_maps, chosen.refine_threshold) == (4, 0.4)
    again = timm.create_model(f'local-dir:{save_model(chosen, tmp_path)}', pretrained=True)
    assert (again.num_maps, again.refine_threshold) == (4, 0.4)


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_fine_tuning_from_a_checkpoint(item):
    model, trained = load(item, num_classes=3, in_chans=1), load(item)
    assert model(torch.zeros(1, 1, item.input_size, item.input_size)).shape == (1, 3)
    parameters = dict(model.named_parameters())
    kept = [key for key, value in trained.named_parameters() if parameters[key].shape == value.shape]
    assert all(torch.equal(parameters[key], trained.get_parameter(key)) for key in kept)
    assert len(kept) >= len(parameters) - 12


def test_weights_that_cannot_be_had_are_not_promised():
    for item in ITEMS:
        assert (item.name in timm.list_pretrained()) == (item.in_package or bool(item.repo))


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_result_file_is_of_these_weights(item):
    record = json.loads((ROOT / item.results).read_text(encoding='utf-8'))
    assert (record['model'], record['weights_sha256']) == (item.name, item.sha256)
    assert {key: record['metrics'][key] for key in ('top1', 'top5', 'mean_per_class')}.items() <= item.metrics.items()


def test_weights_of_a_clone_are_named_where_they_are():
    for name in ('apinet_tf_efficientnet_lite0.grocery81', 'apinet_tf_efficientnet_lite0.none'):
        with pytest.raises(UserError, match='local-dir:hub/checkpoints/apinet_tf_efficientnet_lite0.grocery81 in a clone'):
            timm.create_model(name, pretrained=True)


def test_the_default_tag():
    default = next(item for item in ITEMS if item.default and item.in_package)
    bare = timm.create_model(default.architecture, pretrained=True)
    tagged = timm.create_model(default.name, pretrained=True)
    assert bare.num_classes == default.num_classes
    torch.testing.assert_close(bare.classifier.weight, tagged.classifier.weight)
    assert timm.get_pretrained_cfg(default.name).label_names == default.label_names()
