"""Figures of how well scores tell strangers."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

ACCURACY = Path(__file__).parents[2] / 'benchmarks' / 'accuracy'


def load(name):
    spec = importlib.util.spec_from_file_location(name, ACCURACY / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


strangers, histories = load('strangers'), load('histories')


def test_the_area_counts_pairs():
    known, others = torch.randint(0, 9, (40,)).float(), torch.randint(0, 6, (30,)).float()
    pairs = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a in known.tolist() for b in others.tolist())
    assert strangers.roc_area(known, others) == pytest.approx(100 * pairs / (40 * 30))
    assert strangers.roc_area(torch.ones(3), torch.zeros(2)) == 100


def test_strangers_below_the_threshold_are_counted():
    known = torch.arange(100).float()  # five of them are below 5
    others = torch.tensor([0.0, 4.9, 5.0, 60.0])
    assert strangers.caught(known, others, 95) == 50
    assert strangers.caught(known, others, 99) == 25
    assert strangers.measure(known, others) == dict(
        roc_area=round(strangers.roc_area(known, others), 2), caught_at_99=25, caught_at_95=50)


def test_scores_are_higher_for_a_sure_answer():
    sure, unsure = torch.tensor([[9.0, 0, 0, 0]]).repeat(1, 10), torch.zeros(1, 40)
    sure[:, 1:] = 0
    for name, score in strangers.SCORES.items():
        assert score(sure).item() > score(unsure).item(), name


def test_a_history_has_the_losses_and_what_differs(tmp_path):
    for name, rate in (('a', 1), ('b', 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'run.json').write_text(json.dumps(dict(
            command=f'fgvc-zoo train --output /home/me/{name}', config=dict(recipe=dict(epochs=2, head_lr_scale=rate)))))
        (tmp_path / name / 'history.csv').write_text('epoch,loss,images_per_second,test_top1\n1,2.5,40,\n2,1.5,40,80\n')
    found = [histories.history(tmp_path / name) for name in 'ab']
    assert found[0]['history'] == [dict(epoch=1, loss=2.5), dict(epoch=2, loss=1.5, test_top1=80)]
    assert found[1]['command'] == 'fgvc-zoo train --output b'
    assert histories.differences([item['recipe'] for item in found]) == [dict(head_lr_scale=1), dict(head_lr_scale=10)]
