"""The pictures of the data flow: which box depends on which."""

import importlib.util
import sys
from pathlib import Path

import timm
import torch

from fgvc_zoo.tasks import create_task

spec = importlib.util.spec_from_file_location('draw_flow', Path(__file__).parents[2] / 'docs' / 'methods' / 'draw_flow.py')
flow = importlib.util.module_from_spec(spec)
sys.modules['draw_flow'] = flow  # its data classes look for their module
spec.loader.exec_module(flow)


def names_and_sources(boxes):
    return [(box.name, sorted(boxes[source].name for source in box.sources)) for box in boxes]


def make(method, **args):
    return timm.create_model(method, backbone='test_resnet', num_classes=4, **args)


def test_both_passes_of_wsdan():
    boxes = flow.record(make('wsdan', num_maps=3), 64, training=False)
    network = [('attention', ['backbone']), ('attention embedding', ['attention', 'backbone']), ('classifier', ['attention embedding'])]
    assert names_and_sources(boxes) == [
        ('images', []), ('backbone', ['images']), *network, ('object box', ['attention']), ('crop boxes', ['images', 'object box']),
        ('backbone', ['crop boxes']), *network, ('mean prediction', ['classifier', 'classifier']), ('logits', ['mean prediction'])]
    assert boxes[2].shapes == [(flow.BATCH, 3, 2, 2)] and boxes[-1].shapes == [(flow.BATCH, 4)]


def test_a_training_step_of_osme():
    boxes = flow.record(create_task('osme', make('osme')), 64, training=True)
    assert names_and_sources(boxes)[2:] == [
        ('backbone', ['images']), ('excitation', ['backbone']), ('branches', ['backbone', 'excitation']), ('classifier', ['branches']),
        ('mamc loss', ['branches', 'classes']), ('cross-entropy', ['classes', 'classifier']), ('loss', ['cross-entropy', 'mamc loss'])]
    assert boxes[3].parameters == sum(parameter.numel() for parameter in make('osme').excitation.parameters())


def test_the_model_is_as_before():
    model = make('apinet').eval()
    before = model(torch.ones(1, 3, 64, 64))
    flow.record(model, 64, training=False)
    model.eval()
    assert torch.equal(model(torch.ones(1, 3, 64, 64)), before) and 'forward' not in vars(model.backbone)


def test_lanes_that_overlap_are_beside_each_other():
    def box(*sources):
        return flow.Box('', 'module', [(1,)], sources=set(sources))

    assert flow.lanes([box(), box(0), box(0), box(1), box(3), box(3)]) == {0: (0, [2]), 1: (1, [3]), 3: (0, [5])}


def test_what_the_result_does_not_need_is_left_out():
    boxes = [flow.Box('a', 'input', []), flow.Box('b', 'module', [], sources={0}), flow.Box('c', 'module', [], sources={0})]
    assert names_and_sources(flow.needed(boxes)) == [('a', []), ('c', ['a'])]


def test_a_picture_is_written_the_same_every_time(tmp_path):
    boxes = flow.record(make('apinet'), 64, training=False)
    flow.draw(boxes, tmp_path / 'one.svg')
    first = (tmp_path / 'one.svg').read_bytes()
    flow.draw(boxes, tmp_path / 'one.svg')
    assert b'<svg' in first and (tmp_path / 'one.svg').read_bytes() == first
