"""The manifest against the files, and every checkpoint against its golden logits."""

import hashlib

import pytest
import timm
import torch

from fgvc_zoo.checkpoints import golden_input, load_manifest

ITEMS = load_manifest()


def test_there_are_checkpoints():
    assert {'wsdan_tf_efficientnet_lite0.grocery81', 'wsdan_tf_efficientnet_lite0.cub50'} <= {item.name for item in ITEMS}
    for architecture in {item.architecture for item in ITEMS}:
        assert sum(item.default for item in ITEMS if item.architecture == architecture) == 1


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_files_are_what_the_manifest_says(item):
    content = item.path.read_bytes()
    assert len(content) == item.size <= 12_000_000
    assert hashlib.sha256(content).hexdigest() == item.sha256
    names = item.label_names()
    assert len(names) == len(set(names)) == item.num_classes
    assert all(names)
    assert {'top1', 'top5', 'mean_per_class', 'raw', 'refined'} <= item.metrics.keys()
    assert all(0 < value <= 100 for value in item.metrics.values())


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_golden_logits(item):
    """Loaded through timm, the weights answer a fixed image as they did when they were measured."""
    model = timm.create_model(item.name, pretrained=True).eval()
    with torch.no_grad():
        logits = model(golden_input(item.input_size))[0]
    torch.testing.assert_close(logits[:len(item.golden)], torch.tensor(item.golden), rtol=1e-3, atol=1e-3)
    assert len(item.golden) >= 10


@pytest.mark.parametrize('item', ITEMS, ids=lambda item: item.name)
def test_fine_tuning_from_a_checkpoint(item):
    model = timm.create_model(item.name, pretrained=True, num_classes=3, in_chans=1).eval()
    assert model(torch.zeros(1, 1, item.input_size, item.input_size)).shape == (1, 3)
    trained = timm.create_model(item.name, pretrained=True)
    torch.testing.assert_close(model.attention.conv.weight, trained.attention.conv.weight)


def test_the_default_tag():
    default = next(item for item in ITEMS if item.default)
    bare = timm.create_model(default.architecture, pretrained=True)
    tagged = timm.create_model(default.name, pretrained=True)
    assert bare.num_classes == default.num_classes
    torch.testing.assert_close(bare.classifier.weight, tagged.classifier.weight)
    assert timm.get_pretrained_cfg(default.name).label_names == default.label_names()
