"""The folder that timm and transformers load."""

import json

import timm
import torch

import fgvc_zoo  # noqa: F401
from fgvc_zoo.saving import portable_args, save_model


def test_a_saved_model_loads_with_its_arguments_and_classes(tmp_path):
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=2, num_maps=4).eval()
    folder = save_model(model, tmp_path / 'new' / 'run', label_names=['kiwi', 'leek'])
    assert sorted(path.name for path in folder.iterdir()) == ['config.json', 'model.safetensors']
    config = json.loads((folder / 'config.json').read_text())
    assert config['label_names'] == ['kiwi', 'leek'] and config['num_classes'] == 2
    assert config['model_args']['num_maps'] == 4 and 'num_classes' not in config['model_args']
    loaded = timm.create_model(f'local-dir:{folder}', pretrained=True).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


def test_portable_args_leave_out_the_source_of_the_weights():
    assert portable_args(dict(num_classes=3, pretrained_backbone=True, num_maps=4)) == dict(num_maps=4)
