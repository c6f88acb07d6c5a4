"""What the recorded results must show, so that no result file without it is kept."""

import json
from pathlib import Path

import pytest

from fgvc_zoo.comparison import compare_records
from fgvc_zoo.models import METHODS

FOLDER = Path(__file__).parents[1] / 'benchmarks' / 'results'


def read(name):
    return json.loads((FOLDER / name).read_text(encoding='utf-8'))


BASELINE = read('cub200_tf_efficientnet_lite0.json')
PLAIN = read('plain/cub200_tf_efficientnet_lite0.json')
OWN = [name for name, method in METHODS.items() if method.package == 'fgvc-zoo']


def shipped(method):
    return read(f'cub200_{method}_tf_efficientnet_lite0.json')


@pytest.mark.parametrize('method', OWN)
def test_no_method_is_behind_the_baseline_and_all_beat_plain_fine_tuning(method):
    result = shipped(method)
    assert compare_records(result, BASELINE).difference >= 0
    comparison = compare_records(result, PLAIN)
    assert comparison.low > 0 and comparison.p_value < 0.01
    for key in ('input_size', 'epochs', 'split', 'seed'):
        assert result[key] == BASELINE[key] == PLAIN[key]


@pytest.mark.parametrize('method', ['apinet', 'wsban', 'wsdan'])
def test_methods_that_beat_the_tuned_baseline_beyond_chance(method):
    comparison = compare_records(shipped(method), BASELINE)
    assert comparison.low > 0 and comparison.p_value < 0.01


@pytest.mark.parametrize(('method', 'coarse', 'fine'), [
    ('wsban', 'raw', 'refined'), ('wsdan', 'raw', 'refined'), ('racnn', 'scale1', 'scale2')])
def test_the_second_pass_is_better_and_its_box_finds_the_bird(method, coarse, fine):
    metrics = shipped(method)['metrics']
    assert metrics[fine]['top1'] > metrics[coarse]['top1']
    assert metrics['localization']['iou50'] > metrics['localization']['central_box_iou50']


def test_figures_agree_with_the_answers_image_by_image():
    for result in (BASELINE, PLAIN, *map(shipped, OWN)):
        correct = result['metrics']['correct']
        assert len(correct) == 5794
        assert 100 * correct.count('1') / len(correct) == pytest.approx(result['metrics']['top1'], abs=0.001)
