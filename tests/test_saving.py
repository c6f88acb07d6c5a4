"""The folder that timm and transformers load."""

import json

import pytest
import timm
import torch

from fgvc_zoo import UserError
from fgvc_zoo.loading import class_names, load_model
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


NAMED = 'wsdan_tf_efficientnet_lite0.grocery81'


@pytest.mark.parametrize('make', [
    lambda: timm.create_model(NAMED, pretrained=True, num_classes=4),
    lambda: _reset(timm.create_model(NAMED, pretrained=True), 4),
    lambda: timm.create_model('wsdan_tf_efficientnet_lite0', num_classes=4),
], ids=['created', 'reset', 'untrained'])
def test_a_new_head_has_no_names_of_another(make, tmp_path):
    model = make()
    for key in ('label_names', 'tag', 'license', 'description'):
        assert not model.pretrained_cfg.get(key), key
    save_model(model, tmp_path)
    config = json.loads((tmp_path / 'config.json').read_text(encoding='utf-8'))
    assert config['num_classes'] == 4 and 'label_names' not in config and 'label_names' not in config['pretrained_cfg']
    assert class_names(load_model(str(tmp_path))) == ['class 0', 'class 1', 'class 2', 'class 3']


@pytest.mark.parametrize('name', [NAMED, 'apinet_tf_efficientnet_lite0'])
def test_random_weights_have_no_names_of_trained_ones(name, tmp_path):
    """Although timm describes them by the configuration of trained weights with as many classes."""
    model = timm.create_model(name, num_classes=timm.get_pretrained_cfg(name).num_classes)
    assert len(timm.get_pretrained_cfg(name).to_dict()['label_names']) == model.num_classes
    for key in ('label_names', 'tag', 'license', 'description'):
        assert not model.pretrained_cfg.get(key), key
    assert class_names(load_model(str(save_model(model, tmp_path))))[:2] == ['class 0', 'class 1']


def _reset(model, num_classes):
    model.reset_classifier(num_classes)
    return model


def test_a_new_classifier_of_as_many_classes_has_no_names():
    model = _reset(timm.create_model(NAMED, pretrained=True), 81)
    for key in ('label_names', 'tag', 'license', 'description'):
        assert not model.pretrained_cfg.get(key), key


def test_a_trained_head_keeps_its_names(tmp_path):
    model = timm.create_model(NAMED, pretrained=True)
    assert len(model.pretrained_cfg['label_names']) == 81
    save_model(model, tmp_path)
    assert class_names(load_model(str(tmp_path))) == list(model.pretrained_cfg['label_names'])


def test_names_of_another_number_are_refused(tmp_path):
    model = timm.create_model('test_resnet', num_classes=3)
    with pytest.raises(UserError, match='3 classes, and there are 2 names'):
        save_model(model, tmp_path, ['a', 'b'])
