"""A config.json from anybody: checked once, one sentence that names the key, and nothing is fetched or unpickled."""

import copy
import json
import random
import shutil
import socket

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fgvc_zoo import UserError
from fgvc_zoo.config_file import read_config
from fgvc_zoo.loading import eval_transform_for, load_model


@pytest.fixture
def folder(run_folder, tmp_path):
    return shutil.copytree(run_folder, tmp_path / 'model')


def edit(folder, **changes):
    """Change entries of config.json; 'pretrained_cfg.mean' reaches one level down."""
    path = folder / 'config.json'
    config = json.loads(path.read_text(encoding='utf-8'))
    for key, value in changes.items():
        *parents, last = key.split('__')
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
    path.write_text(json.dumps(config), encoding='utf-8')


@pytest.mark.parametrize(('key', 'value', 'says'), [
    ('architecture', 'wsdan_resnet51', 'wsdan_resnet50'),
    ('architecture', 3, 'architecture must be'),
    ('num_classes', 'three', 'num_classes must be'),
    ('num_classes', -1, 'num_classes must be'),
    ('label_names', ['a', 'b'], 'label_names has 2 names for 3 classes'),
    ('label_names', ['a', 'b', 3], 'label_names must be a list of names'),
    ('label_names', 'abc', 'label_names must be a list of names'),
    ('model_args', [], 'model_args must be an object'),
    ('model_args__num_mapz', 4, 'num_mapz'),
    ('pretrained_cfg', None, 'pretrained_cfg must be an object'),
    ('pretrained_cfg__mean', [0.5, 0.5], 'mean must be 3 numbers'),
    ('pretrained_cfg__std', [0.5, 0, 0.5], 'std must be above 0'),
    ('pretrained_cfg__std', [0.5, float('nan'), 0.5], 'std must be 3 numbers'),
    ('pretrained_cfg__input_size', [3, 64], 'input_size must be three integers'),
    ('pretrained_cfg__input_size', [3, 64, 10**6], 'input_size must be channels'),
    ('pretrained_cfg__crop_pct', 'all', 'crop_pct must be'),
    ('pretrained_cfg__interpolation', 'cubic', 'interpolation must be one of'),
    ('pretrained_cfg__crop_mode', 7, 'crop_mode must be one of'),
    ('pretrained_cfg__first_conv', [1], 'first_conv must be the name of a layer'),
    ('pretrained_cfg__classifier', 1, 'classifier must be the name of a layer'),
])
def test_what_is_wrong_is_named(folder, key, value, says):
    edit(folder, **{key: value})
    with pytest.raises(UserError, match=says) as caught:
        load_model(str(folder))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('key', 'default'), [('crop_pct', 0.875), ('interpolation', 'bicubic'), ('crop_mode', 'center')])
def test_what_is_null_has_timms_default(folder, key, default):
    edit(folder, **{f'pretrained_cfg__{key}': None})
    model = load_model(str(folder))
    assert model.pretrained_cfg[key] == default
    assert eval_transform_for(model)(Image.new('RGB', (9, 9))).shape == (3, 64, 64)


def test_random_damage_is_one_sentence_or_nothing(folder):
    """Every key in turn is removed, or gets a value of another type or size."""
    original = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    places = [(key,) for key in original]
    places += [(parent, key) for parent in ('pretrained_cfg', 'model_args') for key in original[parent]]
    draw = random.Random(0)
    values = [None, True, -1, 0, 10**12, 0.5, float('inf'), '', 'x' * 500, 'wsdan', [], [1], [[1]] * 3, {}, {'a': {'b': []}}]
    for place in places:
        for _ in range(3):
            config = copy.deepcopy(original)
            parent = config
            for key in place[:-1]:
                parent = parent[key]
            if draw.random() < 0.3:
                del parent[place[-1]]
            else:
                parent[place[-1]] = draw.choice(values)
            (folder / 'config.json').write_text(json.dumps(config), encoding='utf-8')
            try:
                model = load_model(str(folder))
            except UserError as error:
                assert 'config.json' in str(error) or 'model.safetensors' in str(error) or 'label_names' in str(error)
                assert '\n' not in str(error)
            else:
                assert model(torch.zeros(1, *model.pretrained_cfg['input_size'])).shape[0] == 1
                eval_transform_for(model)(Image.new('RGB', (9, 9)))


@pytest.mark.parametrize('text', ['', '{', '[]', '3', '[' * 100000, '{"architecture": "wsdan", "pretrained_cfg": {'])
def test_what_is_no_json_object(folder, text):
    (folder / 'config.json').write_text(text)
    with pytest.raises(UserError, match=r'config\.json'):
        load_model(str(folder))


def test_other_weights_are_ignored(folder, monkeypatch, tmp_path):
    """No address is contacted and no pickle is read, whatever the file asks for."""
    torch.save({'x': torch.zeros(1)}, tmp_path / 'evil.pth')
    config = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    edit(folder, model_args={**config['model_args'], 'pretrained_backbone': True, 'checkpoint_path': str(tmp_path / 'evil.pth'),
                             'backbone_args': {'pretrained_cfg': {'url': 'http://127.0.0.1:9/x.pth'}}},
         pretrained_cfg__url='http://127.0.0.1:9/x.pth', pretrained_cfg__file=str(tmp_path / 'evil.pth'))
    monkeypatch.setattr(socket.socket, 'connect', lambda *_: pytest.fail('an address was contacted'))
    monkeypatch.setattr(torch, 'load', lambda *_, **__: pytest.fail('a pickle was read'))
    with pytest.warns(UserWarning, match=r'pretrained_cfg\.url.*model_args\.pretrained_backbone.*they are ignored'):
        model = load_model(str(folder))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in load_file(folder / 'model.safetensors').items())


def test_healthy_files_are_read_as_they_are(folder):
    assert read_config(folder / 'config.json') == json.loads((folder / 'config.json').read_text(encoding='utf-8'))


def test_numbers_of_another_type_are_refused(folder):
    state = load_file(folder / 'model.safetensors')
    key = next(key for key, value in state.items() if value.dtype == torch.float32)
    state[key] = state[key].view(torch.int32)
    save_file(state, folder / 'model.safetensors')
    with pytest.raises(UserError, match=f'is damaged: {key} has numbers of the type torch.int32'):
        load_model(str(folder))


def test_timm_would_have_loaded_it(folder):
    """The oracle: without damage, timm alone builds the same model."""
    ours, theirs = load_model(str(folder)), timm.create_model(f'local-dir:{folder}', pretrained=True)
    assert ours.pretrained_cfg == theirs.pretrained_cfg and ours._model_args == theirs._model_args


def test_timm_fetches_no_backbone_either(folder, monkeypatch):
    config = json.loads((folder / 'config.json').read_text(encoding='utf-8'))
    edit(folder, model_args={**config['model_args'], 'pretrained_backbone': True})
    monkeypatch.setattr(socket.socket, 'connect', lambda *_: pytest.fail('an address was contacted'))
    with pytest.warns(UserWarning, match='names backbone weights; they are ignored'):
        model = timm.create_model(f'local-dir:{folder}', pretrained=True)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in load_file(folder / 'model.safetensors').items())
