"""The picture of what a model looked at."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fgvc_zoo.explain import _heat, draw_prediction
from fgvc_zoo.loading import load_model
from fgvc_zoo.prediction import predict


def test_panels_of_a_two_pass_model(run_folder, photos):
    model = load_model(str(run_folder))
    path = next((photos / 'test').rglob('*.jpg'))
    picture = draw_prediction(*predict(model, [path], explain=True), model.pretrained_cfg)
    plain_model = timm.create_model('test_resnet', num_classes=3).eval()
    plain = draw_prediction(*predict(plain_model, [path], explain=True), plain_model.pretrained_cfg)
    assert picture.mode == 'RGB'
    assert picture.width > 1.4 * plain.width  # three panels beside two
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1000
    with pytest.raises(ValueError, match='explain=True'):
        draw_prediction(*predict(model, [path]), model.pretrained_cfg)


def test_a_picture_costs_no_pass_of_its_own(run_folder, photos):
    model = load_model(str(run_folder))
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    paths = sorted((photos / 'test').rglob('*.jpg'))[:2]
    for prediction in predict(model, paths, explain=True):
        draw_prediction(prediction, model.pretrained_cfg)
    assert len(calls) == 2  # both passes of one batch


def test_heat_is_brightest_where_attention_is():
    attention = torch.zeros(4, 4)
    attention[0, 3] = 1
    heat = np.asarray(_heat(Image.new('RGB', (320, 320), (128, 128, 128)), attention)).astype(int).sum(-1)
    assert heat[20, 300] > heat[300, 20]
    dead = np.asarray(_heat(Image.new('RGB', (320, 320)), torch.zeros(4, 4)))
    assert (dead == dead[0, 0]).all()


def test_names_are_whole_in_every_picture():
    from fgvc_zoo.explain import _compose

    def below(panels, name):
        pixels = np.asarray(_compose([('input', Image.new('RGB', (320, 320)))] * panels, [(name, 0.5)]))
        return (pixels[360:, 344:] < 128).any(2)

    assert below(1, 'kiwi').any()  # a model without an explanation has one panel
    for panels in (1, 2, 3):
        long = below(panels, 'a very long name ' * 12)
        assert long.shape[0] > below(panels, 'kiwi').shape[0]
        assert not long[:, -8:].any()
    assert not np.array_equal(below(2, 'é'), below(2, 'ř'))
    assert not np.array_equal(below(2, '苹'), below(2, '果'))
