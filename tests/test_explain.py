"""The picture of what a model looked at."""

import numpy as np
import timm
import torch
from PIL import Image

from fgvc_zoo.explain import _heat, explain_image
from fgvc_zoo.loading import load_model


def test_panels_of_a_two_pass_model(run_folder, photos):
    model = load_model(str(run_folder))
    image = Image.open(next((photos / 'test').rglob('*.jpg')))
    picture = explain_image(model, image)
    plain = explain_image(timm.create_model('test_resnet', num_classes=3).eval(), image)
    assert picture.mode == 'RGB'
    assert picture.width > 2.5 * plain.width
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 1000
    assert not model.training


def test_heat_is_brightest_where_attention_is():
    attention = torch.zeros(4, 4)
    attention[0, 3] = 1
    heat = np.asarray(_heat(Image.new('RGB', (320, 320), (128, 128, 128)), attention)).astype(int).sum(-1)
    assert heat[20, 300] > heat[300, 20]
    dead = np.asarray(_heat(Image.new('RGB', (320, 320)), torch.zeros(4, 4)))
    assert (dead == dead[0, 0]).all()
