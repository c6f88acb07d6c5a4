"""The tables of the documents: what their cells are computed from."""

import importlib
import json
from pathlib import Path

import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[2] / 'benchmarks' / 'accuracy')
    accuracy_tables, chart, tables = (importlib.import_module(name) for name in ('accuracy_tables', 'chart', 'tables'))


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
    table = accuracy_tables.main_table([TUNED, METHOD], PLAIN)
    _, top1, over_plain, plain_errors, over_tuned, tuned_errors, *cost = cells(table, 'wsdan')
    assert cost == ['2.0 M', '8 ms'] and cells(table, 'tuned baseline')[6:] == ['1.5 M', '3 ms']
    assert (top1, plain_errors, tuned_errors) == ('**80.0**', '60 %', '50 %')
    assert over_plain.startswith('+30.0 [+') and over_tuned.startswith('+20.0 [+')
    assert cells(table, 'plain fine-tuning')[4].startswith('-10.0 [-')
    assert {line.count('|') for line in table.splitlines()} == {9}


def test_details():
    table = accuracy_tables.detail_table([TUNED, METHOD], PLAIN)
    assert cells(table, 'wsdan')[3:] == ['raw 70.0', '-', '< 0.005', '< 0.005']
    assert cells(table, 'tuned baseline')[5:] == ['< 0.005', '-']
    assert cells(accuracy_tables.detail_table([TUNED, result('osme', TUNED['metrics']['correct'])], PLAIN), 'osme')[6] == '1.00'
    assert {line.count('|') for line in table.splitlines()} == {8}


def test_seeds_of_one_training_are_averaged():
    again = result('wsdan', '1' * 70 + '0' * 30, seed=1)
    tuned_again = result('baseline', '1' * 40 + '0' * 60, seed=1)
    row = cells(accuracy_tables.seed_table([TUNED, tuned_again, METHOD, again, result('osme', '1100')]).replace('| birds ', ''), 'wsdan')
    assert row[3:] == ['80.0, 70.0', '**75.0**', '50 %']


def test_render_replaces_only_what_is_between_the_marks(monkeypatch):
    monkeypatch.setattr(tables, 'TABLES', dict(small=lambda: 'new'))
    assert tables.render('a\n<!-- small -->\nold\n<!-- /small -->\nb <!-- other -->') == (
        'a\n<!-- small -->\nnew\n<!-- /small -->\nb <!-- other -->')


@pytest.mark.parametrize('method', ['baseline', 'wsdan'])
def test_errors_removed(method):
    assert accuracy_tables.removed(method, 90.0, 80.0) == ('-' if method == 'baseline' else '50 %')


def test_faithfulness_of_every_map(monkeypatch, tmp_path):
    def row(start):
        return {name: dict(mean=start + index, low=start + index - 1, high=start + index + 1)
                for index, name in enumerate(('deletion', 'insertion', 'pointing', 'box_iou'))}

    kinds = {'own attention': row(10), 'Grad-CAM': row(20), 'central blob': row(30), 'own attention less Grad-CAM': row(-10)}
    kinds['own box'] = dict(box_iou=dict(mean=55, low=54, high=56))
    monkeypatch.setattr(tables, 'RESULTS', tmp_path)
    (tmp_path / 'checks').mkdir()
    (tmp_path / 'checks' / 'faithfulness.json').write_text(json.dumps(dict(results=dict(osme=kinds))))
    _, _, own, grad, blob, difference = tables.faithfulness_table().splitlines()
    assert own.endswith('| 10.0 [9.0, 11.0] | 11.0 [10.0, 12.0] | 12.0 [11.0, 13.0] | 13.0 [12.0, 14.0] | 55.0 [54.0, 56.0] |')
    assert '| 20.0 [' in grad and '| 30.0 [' in blob and '| -10.0 [-11.0, -9.0] |' in difference


def test_every_method_beside_the_tuned_baseline():
    """Against the figures of the main table, which other code draws."""
    choice = accuracy_tables.choice_table(accuracy_tables.results_of('cub200'))
    assert [line.split(' | ')[0] for line in choice.splitlines()[2:]] == [
        '| tuned baseline', *(f'| [{name}]({name}.md)' for name in ('wsdan', 'wsban', 'apinet', 'racnn', 'osme'))]
    rows = accuracy_tables.method_table('wsdan').splitlines()[2:]
    assert len(rows) == 2 and '| 85.3' not in rows[1]
    gain = rows[0].split(' | ')[4]
    plain, = accuracy_tables.load_results(accuracy_tables.RESULTS / 'plain')
    main = accuracy_tables.main_table(accuracy_tables.results_of('cub200'), plain)
    assert gain.startswith('+3.3 [') and gain in main and gain in choice


def test_the_chart_shows_the_differences_of_the_main_table():
    results, (plain,) = accuracy_tables.results_of('cub200'), accuracy_tables.load_results(accuracy_tables.RESULTS / 'plain')
    found = chart.rows(results, plain)
    assert [row[0] for row in found] == ['WS-DAN', 'WS-BAN', 'API-Net', 'RA-CNN', 'OSME + MAMC', 'plain fine-tuning']
    main = accuracy_tables.main_table(results, plain)
    for _, top1, difference, low, high in found[:5]:
        assert f'**{top1:.1f}**' in main and f'{difference:+.1f} [{low:+.1f}, {high:+.1f}]' in main
