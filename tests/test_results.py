"""What the recorded results must show of every method, so that no result file without it is kept."""

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / 'benchmarks' / 'results'
RESULTS = [json.loads(path.read_text(encoding='utf-8')) for path in sorted(FOLDER.glob('*.json'))]
METHODS = ('apinet', 'osme', 'racnn', 'wsban', 'wsdan')


def protocol(result):
    return result['data'], result['backbone'], result['input_size'], result['epochs']


def shipped(method):
    """What is measured of the method's checkpoint of the shared protocol."""
    name = f'{method}_tf_efficientnet_lite0.cub50'
    found, = [result['metrics'] for result in RESULTS if result['model'] == name and result['epochs'] == 8]
    return found


def test_every_method_is_there_and_none_loses_to_its_baseline():
    baselines = {protocol(result): result['metrics']['top1'] for result in RESULTS if result['method'] == 'baseline'}
    found = set()
    for result in RESULTS:
        if result['method'] != 'baseline':
            assert result['metrics']['top1'] > baselines[protocol(result)], result['model']
            found.add((result['data'], result['method']))
    assert found >= {('cub50', method) for method in METHODS}


@pytest.mark.parametrize(('method', 'coarse', 'fine'), [('wsban', 'raw', 'refined'), ('racnn', 'scale1', 'scale2')])
def test_the_second_look_is_better_and_finds_the_bird(method, coarse, fine):
    metrics = shipped(method)
    assert metrics[fine]['top1'] > metrics[coarse]['top1']
    assert metrics['localization']['iou50'] > metrics['localization']['central_box_iou50']


def test_an_images_own_gate_shows_its_class_better():
    found = shipped('apinet')['diagnosis']
    assert found['p_self'] > found['p_other'] and found['self_above_other'] > 0.5


def test_excitations_differ():
    found = shipped('osme')['diagnosis']
    assert found['excitation_cosine'] < 0.999 and found['excitation_cosine_centered'] < 0.5
    assert min(found['branch1_top1'], found['branch2_top1']) > 70
