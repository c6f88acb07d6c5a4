"""Photographs of the classes that a model answers with."""

import shutil

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fgvc_zoo import UserError
from fgvc_zoo.data import open_dataset
from fgvc_zoo.explain import Examples, draw_prediction, sheet_of
from fgvc_zoo.explain.examples import Example, _square
from fgvc_zoo.loading import eval_transform_for
from fgvc_zoo.prediction import predict

NAMES = ['gala', 'kiwi', 'leek']


@pytest.fixture
def model():
    model = timm.create_model('apinet', backbone='test_resnet', num_classes=3).eval()
    model.pretrained_cfg.update(input_size=(3, 64, 64), label_names=NAMES)
    return model


def answer_of(model, path, **options):
    return next(iter(predict(model, [path], explain=True, **options)))


def test_each_class_has_its_first_photograph_but_never_the_one_itself(photos):
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4).eval()
    model.pretrained_cfg.update(input_size=(3, 64, 64), label_names=NAMES)
    dataset = open_dataset(f'folder:{photos}', 'train')
    itself = dataset.paths[dataset.targets.index(0)]
    answer = answer_of(model, itself)
    shown = {example.name: example for example in Examples(model, dataset).of(answer)}
    assert list(shown) == answer.names
    for name in NAMES:
        index = next(place for place, target in enumerate(dataset.targets)
                     if dataset.class_names[target] == name and dataset.paths[place] != itself)
        np.testing.assert_array_equal(np.asarray(shown[name].picture), np.asarray(_square(dataset.load(index))))
        assert shown[name].contrast is None


def test_the_rival_is_the_most_similar_photograph(model, photos):
    dataset = open_dataset(f'folder:{photos}', 'train')
    answer = answer_of(model, photos / 'test' / 'kiwi' / '0.jpg')
    first, second = answer.names[:2]
    rival = Examples(model, dataset).of(answer)[1]
    similarity = {}
    with torch.no_grad():
        own = model.forward_parts(answer.view).features[0]
        for index in range(len(dataset)):
            if dataset.class_names[dataset.targets[index]] == second:
                view = eval_transform_for(model)(dataset.load(index))[None]
                features = model.forward_parts(view).features[0]
                similarity[index] = (own @ features / own.norm() / features.norm()).item(), view
        view = similarity[max(similarity, key=lambda index: similarity[index][0])][1]
        torch.testing.assert_close(rival.view, view)
        classes = [torch.tensor([NAMES.index(name)]) for name in (first, second)]
        torch.testing.assert_close(rival.contrast, model.contrast(view, *classes))
    panel = sheet_of(answer, model.pretrained_cfg, Examples(model, dataset).of(answer)).panels[3]
    assert panel.title == f'the most similar {second}'


def test_classes_are_found_by_name_in_any_order_and_may_be_missing(model, photos, tmp_path):
    for name in ('zebra', 'LEEK', 'gala'):
        shutil.copytree(photos / 'train' / name.lower().replace('zebra', 'kiwi'), tmp_path / name)
    shown = {example.name: example.picture for example in
             Examples(model, open_dataset(f'folder:{tmp_path}', 'train')).of(answer_of(model, photos / 'test' / 'kiwi' / '0.jpg'))}
    assert shown['kiwi'] is None and shown['gala'] is not None and shown['leek'] is not None


@pytest.mark.parametrize('damaged', [1, 3])
def test_photographs_that_cannot_be_read_are_passed_over(model, photos, tmp_path, damaged):
    """Of the most probable class, and of its rival, which has a search of its own. Three is all of them."""
    shutil.copytree(photos / 'train', tmp_path / 'train')
    dataset = open_dataset(f'folder:{tmp_path}', 'train')
    answer = answer_of(model, photos / 'test' / 'kiwi' / '0.jpg')
    for name in NAMES:
        for path in sorted((tmp_path / 'train' / name).iterdir())[:damaged]:
            path.write_bytes(path.read_bytes()[:300])
    for example in Examples(model, dataset).of(answer):
        assert (example.picture is None) == (damaged == 3)


def test_many_examples_are_drawn_in_rows(model, photos):
    """In columns as wide as those of a full row."""
    model.reset_classifier(90)
    model.pretrained_cfg.update(label_names=None)
    answer = answer_of(model, photos / 'test' / 'kiwi' / '0.jpg', top=90)
    picture = Image.new('RGB', (320, 320), 'red')
    heights = {count: draw_prediction(answer, model.pretrained_cfg, [Example('a', picture)] * count).height for count in (8, 9, 16, 90)}
    row = heights[9] - heights[8]
    assert heights[16] == heights[9] and heights[90] - heights[8] == 11 * row and row > 100


def test_data_of_other_classes_are_named(model, photos, tmp_path):
    for name in ('zebra', 'horse'):
        shutil.copytree(photos / 'train' / 'kiwi', tmp_path / name)
    with pytest.raises(UserError, match="none of the model's classes, such as 'gala'"):
        Examples(model, open_dataset(f'folder:{tmp_path}', 'train'))


def test_examples_are_square_and_not_distorted():
    wide = Image.new('RGB', (90, 30), (255, 255, 255))
    wide.paste((0, 0, 0), (30, 0, 60, 30))
    assert _square(wide).size == (320, 320) and not np.asarray(_square(wide)).any()
