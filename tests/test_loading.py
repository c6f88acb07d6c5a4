"""From a name to a model: what works, and one clear sentence for everything that does not."""

import json
import shutil
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from fgvc_zoo import UserError, loading
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.loading import class_names, describe_classes, eval_transform_for, load_model


@pytest.fixture
def folder(run_folder, tmp_path):
    """A run folder that a test may spoil."""
    return shutil.copytree(run_folder, tmp_path / 'run')


def test_run_folder_equals_timm(run_folder):
    images = torch.randn(2, 3, 64, 64)
    expected = timm.create_model(f'local-dir:{run_folder}', pretrained=True).eval()
    for name in (str(run_folder), f'local-dir:{run_folder}'):
        model = load_model(name)
        assert not model.training
        with torch.no_grad():
            assert torch.equal(model(images), expected(images))
    assert class_names(model) == ['gala', 'kiwi', 'leek']


def test_transform_follows_the_configuration(run_folder):
    from PIL import Image
    tensor = eval_transform_for(load_model(str(run_folder)))(Image.new('RGB', (100, 80), (255, 0, 127)))
    assert tensor.shape == (3, 64, 64)
    torch.testing.assert_close(tensor[:2, 0, 0], torch.tensor([1.0, -1.0]))  # mean = std = 0.5


def test_names_are_invented_where_there_are_none(run_folder):
    model = load_model(str(run_folder))
    model.pretrained_cfg.pop('label_names')
    assert class_names(model) == ['class 0', 'class 1', 'class 2']


@pytest.mark.parametrize('item', load_manifest(), ids=lambda item: item.name)
def test_checkpoints_of_the_package(item):
    model = load_model(item.name)
    assert class_names(model) == list(item.label_names())


@pytest.mark.parametrize(('name', 'words'), [
    ('wsdan_resnet50', 'no trained weights in this package'),
    ('wsdam_tf_efficientnet_lite0.cub51', 'there is no trained model'),
    ('some/folder', 'there is no model folder'),
    ('x.pth/model.pth', 'is a pickle'),
])
def test_unknown_names(name, words):
    with pytest.raises(UserError, match=words):
        load_model(name)


def test_folder_without_configuration(folder):
    (folder / 'config.json').unlink()
    with pytest.raises(UserError, match='no config.json'):
        load_model(str(folder))


def test_folder_without_weights(folder):
    (folder / 'model.safetensors').unlink()
    with pytest.raises(UserError, match=r'no model\.safetensors'):
        load_model(str(folder))


def test_pickles_are_refused(folder):
    (folder / 'model.safetensors').unlink()
    torch.save({}, folder / 'pytorch_model.bin')
    with pytest.raises(UserError, match='holds only a pickle'):
        load_model(str(folder))
    with pytest.raises(UserError, match='is a pickle'):
        load_model(str(folder / 'pytorch_model.bin'))
    # a pickle under a safe name is no safetensors file, and is never unpickled
    torch.save({}, folder / 'model.safetensors')
    with pytest.raises(UserError, match='damaged or is not a safetensors file'):
        load_model(str(folder))


@pytest.mark.parametrize('keep', [0, 4, 200, 20000])
def test_truncated_weights(folder, keep):
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match='damaged'):
        load_model(str(folder))


def test_weights_of_another_architecture(folder):
    save_file(timm.create_model('test_vit').state_dict(), folder / 'model.safetensors')
    with pytest.raises(UserError, match=r'another architecture .*\d+ missing .*\d+ unexpected'):
        load_model(str(folder))
    other = timm.create_model('wsdan', backbone='test_resnet', num_classes=5, num_maps=4)
    save_file(other.state_dict(), folder / 'model.safetensors')
    with pytest.raises(UserError, match=r'2 of another shape \(such as classifier\.weight\)'):
        load_model(str(folder))


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite(folder, value):
    state = load_file(folder / 'model.safetensors')
    state['classifier.bias'][1] = value
    save_file(state, folder / 'model.safetensors')
    with pytest.raises(UserError, match=r'not finite \(NaN or infinity in classifier\.bias\)'):
        load_model(str(folder))


def test_damaged_package_is_named(monkeypatch):
    """Checked for every checkpoint in the manifest: the sha256 decides, not the loader."""
    items = load_manifest()
    if not items:
        pytest.fail('the manifest is empty')
    import dataclasses
    monkeypatch.setattr(loading, 'load_manifest', lambda: tuple(dataclasses.replace(item, sha256='0' * 64) for item in items))
    with pytest.raises(UserError, match='does not have the sha256'):
        load_model(items[0].name)


@pytest.mark.parametrize(('data', 'text'), [
    ('cub200:/data/cub', '3 classes of bird species'), ('pets37:pets', '3 classes of cat and dog breeds'),
    ('folder:/data/apples', '3 classes'),
    ('/data/apples', '3 classes'), (None, '3 classes'), (7, '3 classes')])
def test_classes_of_a_run_are_described_by_its_data(folder, data, text):
    model = load_model(str(folder))
    if data is not None:
        (folder / 'run.json').write_text(json.dumps(dict(config=dict(data=data))), encoding='utf-8')
    assert describe_classes(str(folder), model) == describe_classes(f'local-dir:{folder}', model) == text
    (folder / 'run.json').write_text('damaged', encoding='utf-8')
    assert describe_classes(str(folder), model) == '3 classes'


def test_classes_of_every_checkpoint_are_described(run_folder):
    model = load_model(str(run_folder))
    found = {item.tag: describe_classes(item.name, model) for item in load_manifest()}
    assert found == {'cub200': '3 classes of bird species', 'grocery81': '3 classes of groceries'}
    assert describe_classes('wsdan_tf_efficientnet_lite0', model) == '3 classes of bird species'  # its default weights


def test_weights_of_the_package_are_not_fetched_when_they_are_published_too(monkeypatch):
    """Without a network, a training can start from them."""
    item = next(item for item in loading.load_manifest() if item.in_package)
    monkeypatch.setattr(loading, 'load_manifest', lambda: (replace(item, repo='tester/model', revision='0' * 40),))
    monkeypatch.setattr(loading, 'download', lambda *_: pytest.fail('it was fetched'))
    assert loading.trained_weights(item.name) == item.file
