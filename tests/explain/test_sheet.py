"""What is shown of a photograph, for every method."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fgvc_zoo.explain import Example, sheet_of
from fgvc_zoo.explain.overlays import PART_COLORS, with_parts
from fgvc_zoo.explain.sheet import parts_panel
from fgvc_zoo.models import METHODS
from fgvc_zoo.prediction import predict

TITLES = {
    'wsdan': ['photograph', 'attention: mean', 'attention: 6 of 8 parts', 'object, enlarged'],
    'wsban': ['photograph', 'attention: mean', 'attention: 6 of 8 parts', 'object, enlarged'],
    'racnn': ['photograph', 'attention: all scales', 'attention: parts', 'scale 2, enlarged', 'scale 3, enlarged'],
    'osme': ['photograph', 'attention: class activation', 'attention: parts', 'excitation 1, enlarged', 'excitation 2, enlarged'],
    'apinet': ['photograph', 'attention: class activation', 'attention: parts', 'class activation, enlarged'],
}
LOOKS = {
    'wsdan': ['whole image', 'object'], 'wsban': ['whole image', 'object'], 'racnn': ['scale 1', 'scale 2', 'scale 3'],
    'osme': ['excitation 1', 'excitation 2'], 'apinet': [],
}


@pytest.mark.parametrize('method', sorted(TITLES))
def test_every_method_has_its_panels_and_looks(method, photos):
    assert method in METHODS
    model = timm.create_model(
        method, backbone='test_resnet', num_classes=6, **(dict(num_maps=8) if method.startswith('ws') else {})).eval()
    model.pretrained_cfg.update(label_names=list('abcdef'))
    answer, = predict(model, [photos / 'test' / 'kiwi' / '0.jpg'], explain=True)
    sheet = sheet_of(answer, model.pretrained_cfg)
    assert (sheet.title, sheet.model) == ('0.jpg', method)
    assert [panel.title for panel in sheet.panels] == TITLES[method]
    assert [look.title for look in sheet.looks] == [f'classes: {name}' for name in [*LOOKS[method], 'together']] or not LOOKS[method]
    assert sheet.looks[-1].classes == list(zip(answer.names, answer.probabilities, strict=True))
    assert all(len(look.classes) == 5 for look in sheet.looks)
    assert [name for name, _ in sheet.maps] == ([f'map {index}' for index in range(8)] if method.startswith('ws') else [])
    legend = [name for _, name in sheet.panels[2].legend]
    if method == 'apinet':
        assert legend == [f'for {name}' for name in answer.names[:2]]


def test_a_look_is_that_part_of_the_inference(photos):
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=6, num_maps=4).eval()
    model.pretrained_cfg.update(label_names=list('abcdef'))
    answer, = predict(model, [photos / 'test' / 'kiwi' / '0.jpg'], explain=True, top=6)
    with torch.no_grad():
        passes = model.forward_passes(answer.view)
    for name, part in (('whole image', 'raw'), ('object', 'refined')):
        probabilities = passes.parts[part].softmax(1)[0]
        assert dict(answer.looks[name]) == pytest.approx(dict(zip('abcdef', probabilities.tolist(), strict=True)), abs=1e-6)
        values = [value for _, value in answer.looks[name]]
        assert values == sorted(values, reverse=True)
    among, = predict(model, [answer.path], explain=True, classes=['a', 'c'])
    assert all({name for name, _ in look} == {'a', 'c'} for look in among.looks.values())
    assert sum(value for _, value in among.looks['object']) == pytest.approx(1)


def test_a_picture_costs_no_pass_of_its_own(photos):
    model = timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4).eval()
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    for answer in predict(model, sorted((photos / 'test').rglob('*.jpg'))[:2], explain=True):
        sheet_of(answer, model.pretrained_cfg)
    assert len(calls) == 2  # both passes of one batch


def test_the_strongest_parts_are_shown_under_their_names():
    strengths = torch.tensor([3.0, 1, 9, 2, 8, 7, 6, 5])
    parts = strengths[:, None, None] * torch.rand(8, 4, 4)
    names = [f'map {index}' for index in range(8)]
    picture = Image.new('RGB', (64, 64), (80, 80, 80))
    panel = parts_panel(picture, parts, names)
    chosen = [index for index in range(8) if parts[index].sum() >= parts.sum((1, 2)).sort(descending=True).values[5]]
    assert panel.legend == tuple(zip(PART_COLORS, [names[index] for index in chosen], strict=True))
    np.testing.assert_array_equal(np.asarray(panel.picture), np.asarray(with_parts(picture, parts[chosen])))


def test_enlarged_boxes_say_how_much_of_the_input_they_are(prediction, cfg):
    sheet = sheet_of(prediction(boxes=2), cfg)
    assert [panel.note for panel in sheet.panels] == ['', '', '30 % of the input', '30 % of the input']
    assert [panel.frame for panel in sheet.panels[2:]] == [color for color, _ in sheet.panels[0].legend]


def test_a_rival_is_shown_with_what_tells_it_apart(prediction, cfg):
    answer = prediction(parts=2)
    rival = Example('kiwi', Image.new('RGB', (8, 8)), torch.zeros(1, 3, 64, 64), torch.rand(1, 2, 4, 4))
    sheet = sheet_of(answer, cfg, [Example('gala', None), rival])
    panel = sheet.panels[3]
    assert panel.title == 'the most similar kiwi' and [name for _, name in panel.legend] == ['for gala', 'for kiwi']
    assert [example.name for example in sheet.examples] == ['gala', 'kiwi']


def test_a_model_without_an_explanation_shows_the_photograph(prediction, cfg):
    sheet = sheet_of(prediction(explanation=None), cfg)
    assert [panel.title for panel in sheet.panels] == ['photograph'] and [look.title for look in sheet.looks] == ['classes']


def test_without_a_view_it_says_what_is_missing(prediction, cfg):
    with pytest.raises(ValueError, match='explain=True'):
        sheet_of(prediction(view=None), cfg)
