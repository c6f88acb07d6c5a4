"""The tables of the documents: what their cells are computed from."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location('tables', Path(__file__).parents[2] / 'benchmarks' / 'accuracy' / 'tables.py')
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


def result(method, correct, seed=0, **metrics):
    top1 = 100 * correct.count('1') / len(correct)
    return dict(
        model=method, method=method, backbone='net', data='birds', split='test', input_size=64, epochs=3, seed=seed,
        recipe=dict(task=method, task_args={}),
        cost=dict(parameters=2e6, milliseconds=7.6, backbone_parameters=1.5e6, backbone_milliseconds=3.2),
        metrics=dict(top1=top1, mean_per_class=top1, correct=correct, **metrics))


TUNED, PLAIN = result('baseline', '1' * 60 + '0' * 40), result('baseline', '1' * 50 + '0' * 50)
METHOD = result('wsdan', '1' * 80 + '0' * 20, raw=dict(top1=70.0, mean_per_class=70.0))


def cells(table, name):
    row, = [line for line in table.splitlines() if line.startswith(f'| {name} |')]
    return [cell.strip() for cell in row.strip('|').split('|')]


def test_every_row_is_compared_with_both_opponents():
    table = tables.main_table([TUNED, METHOD], PLAIN)
    _, top1, over_plain, plain_errors, over_tuned, tuned_errors, *cost = cells(table, 'wsdan')
    assert cost == ['2.0 M', '8 ms'] and cells(table, 'tuned baseline')[6:] == ['1.5 M', '3 ms']
    assert (top1, plain_errors, tuned_errors) == ('**80.0**', '60 %', '50 %')
    assert over_plain.startswith('+30.0 [+') and over_tuned.startswith('+20.0 [+')
    assert cells(table, 'plain fine-tuning')[4].startswith('-10.0 [-')
    assert {line.count('|') for line in table.splitlines()} == {9}


def test_details():
    table = tables.detail_table([TUNED, METHOD], PLAIN)
    assert cells(table, 'wsdan')[3:] == ['raw 70.0', '-', '< 0.005', '< 0.005']
    assert cells(table, 'tuned baseline')[5:] == ['< 0.005', '-']
    assert cells(tables.detail_table([TUNED, result('osme', TUNED['metrics']['correct'])], PLAIN), 'osme')[6] == '1.00'
    assert {line.count('|') for line in table.splitlines()} == {8}


def test_seeds_of_one_training_are_averaged():
    again = result('wsdan', '1' * 70 + '0' * 30, seed=1)
    tuned_again = result('baseline', '1' * 40 + '0' * 60, seed=1)
    row = cells(tables.seed_table([TUNED, tuned_again, METHOD, again, result('osme', '1100')]).replace('| birds ', ''), 'wsdan')
    assert row[3:] == ['80.0, 70.0', '**75.0**', '50 %']


def test_render_replaces_only_what_is_between_the_marks(monkeypatch):
    monkeypatch.setattr(tables, 'TABLES', dict(small=lambda: 'new'))
    assert tables.render('a\n<!-- small -->\nold\n<!-- /small -->\nb <!-- other -->') == (
        'a\n<!-- small -->\nnew\n<!-- /small -->\nb <!-- other -->')


@pytest.mark.parametrize('method', ['baseline', 'wsdan'])
def test_errors_removed(method):
    assert tables._removed(method, 90.0, 80.0) == ('-' if method == 'baseline' else '50 %')
