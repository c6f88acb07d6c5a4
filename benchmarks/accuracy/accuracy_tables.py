"""Tables of accuracies, drawn from result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fgvc_zoo.comparison import compare_records
from fgvc_zoo.evaluation import parts_of
from fgvc_zoo.publishing import COMPARABLE
from fgvc_zoo.tasks import task_settings

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'


def load_results(folder: Path) -> list[dict[str, Any]]:
    """Every result file of a folder, in the order of its name."""
    return [json.loads(path.read_text(encoding='utf-8')) for path in sorted(folder.glob('*.json'))]


def results_of(data: str) -> list[dict[str, Any]]:
    return [result for result in load_results(RESULTS) if result['data'] == data]


def main_table(results: list[dict[str, Any]], plain: dict[str, Any]) -> str:
    """One row a method, against both opponents: the papers' protocol without the method, and the tuned baseline.

    Args:
        results: Of one data set and protocol: the tuned baseline and the methods.
        plain: Of plain fine-tuning in the papers' protocol.
    """
    tuned, methods = tuned_and_methods(results)
    backbone = _cost(methods[0], 'backbone_')
    lines = [
        '| method | top-1 | over plain fine-tuning | errors removed | over the tuned baseline | errors removed | parameters | photograph |',
        '|---|---|---|---|---|---|---|---|',
        f"| plain fine-tuning | {plain['metrics']['top1']:.1f} | - | - | {_gain(plain, tuned)} | {backbone} |",
        f"| tuned baseline | {tuned['metrics']['top1']:.1f} | {_gain(tuned, plain)} | - | - | {backbone} |"]
    lines += [f"| {result['method']} | **{result['metrics']['top1']:.1f}** | {_gain(result, plain)} | {_gain(result, tuned)} "
              f"| {_cost(result)} |" for result in methods]
    return '\n'.join(lines)


def _cost(result: dict[str, Any], of: str = '') -> str:
    """Parameters, and the time of a photograph; of 'backbone_' for the backbone with a linear classifier."""
    cost = result['cost']
    return f"{cost[f'{of}parameters'] / 1e6:.1f} M | {cost[f'{of}milliseconds']:.0f} ms"


def detail_table(results: list[dict[str, Any]], plain: dict[str, Any]) -> str:
    """What `main_table` leaves out: McNemar's p against both opponents, the accuracy of each prediction alone, the boxes."""
    tuned, methods = tuned_and_methods(results)
    lines = [
        '| method | top-1 | mean per class | each prediction alone | box IoU >= 0.5 | p (plain fine-tuning) | p (tuned baseline) |',
        '|---|---|---|---|---|---|---|']
    for result in [plain, tuned, *methods]:
        name = 'plain fine-tuning' if result is plain else 'tuned baseline' if result is tuned else result['method']
        metrics = result['metrics']
        lines.append('| ' + ' | '.join([
            name, f"**{metrics['top1']:.1f}**", f"{metrics['mean_per_class']:.1f}", _parts(metrics), _boxes(metrics),
            *('-' if opponent is result else _p_value(result, opponent) for opponent in (plain, tuned))]) + ' |')
    return '\n'.join(lines)


def tuned_and_methods(results: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The tuned baseline, and the methods from the best down."""
    tuned, = [result for result in results if result['method'] == 'baseline']
    methods = [result for result in results if result['method'] != 'baseline']
    return tuned, sorted(methods, key=lambda result: -result['metrics']['top1'])


def _gain(result: dict[str, Any], opponent: dict[str, Any]) -> str:
    """Two cells: the difference in points with its 95 % interval, and the share of the opponent's errors removed."""
    return f'{_difference(result, opponent)} | {compare_records(result, opponent).errors_removed:.0f} %'


def _difference(result: dict[str, Any], opponent: dict[str, Any]) -> str:
    """The difference in points with its 95 % interval."""
    comparison = compare_records(result, opponent)
    return interval(dict(mean=comparison.difference, low=comparison.low, high=comparison.high), sign='+')


def _p_value(result: dict[str, Any], opponent: dict[str, Any]) -> str:
    """McNemar's p, two-sided."""
    p_value = compare_records(result, opponent).p_value
    return f'{p_value:.2f}' if p_value >= 0.005 else '< 0.005'


def _parts(metrics: dict[str, Any]) -> str:
    return ', '.join(f"{name} {metrics[name]['top1']:.1f}" for name in parts_of(metrics) if name != 'combined') or '-'


def _boxes(metrics: dict[str, Any]) -> str:
    overlap = metrics.get('localization')
    return f"{overlap['iou50']:.0f} % (central box: {overlap['central_box_iou50']:.0f} %)" if overlap else '-'


def accuracy_table(results: list[dict[str, Any]]) -> str:
    """One row a result, grouped by protocol: the baseline first, then the methods with the share of its errors that they remove."""
    lines = [
        '| data | method | backbone | input | epochs | top-1 | mean per class | errors removed | each prediction alone | box IoU >= 0.5 |',
        '|---|---|---|---|---|---|---|---|---|---|']
    baselines = {_key(result): result['metrics']['top1'] for result in results if result['method'] == 'baseline'}
    for result in sorted(results, key=_order):
        metrics = result['metrics']
        share = removed(result['method'], metrics['top1'], baselines.get(_key(result)))
        lines.append('| ' + ' | '.join([
            result['data'], result['method'], f"`{result['backbone']}`", f"{result['input_size']} px", str(result['epochs']),
            f"**{metrics['top1']:.1f}**", f"{metrics['mean_per_class']:.1f}", share, _parts(metrics), _boxes(metrics)]) + ' |')
    return '\n'.join(lines)


def removed(method: str, top1: float, baseline: float | None) -> str:
    """The share of the baseline's errors that a method removes."""
    return '-' if method == 'baseline' or baseline is None else f'{round(100 * (top1 - baseline) / (100 - baseline))} %'


def _order(result: dict[str, Any]) -> tuple[Any, ...]:
    return result['data'], result['input_size'], result['epochs'], result['method'] != 'baseline', result['method']


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[name] for name in COMPARABLE)


def seed_table(results: list[dict[str, Any]]) -> str:
    """One row for each training that was repeated with other seeds: its accuracies, their mean, the share of errors removed."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in sorted(results, key=lambda result: (_order(result), result['seed'])):
        # other settings are another training; older files leave out task settings that are defaults, and call osme's task mamc
        settings = {key: value for key, value in result['recipe'].items() if value is not None}
        settings.update(task=result['method'], task_args={**task_settings(result['method']), **settings['task_args']})
        groups.setdefault((*_key(result), result['method'], json.dumps(settings, sort_keys=True)), []).append(result)
    groups = {key: group for key, group in groups.items() if len(group) > 1}
    mean = {key: sum(result['metrics']['top1'] for result in group) / len(group) for key, group in groups.items()}
    baselines = {key[:len(COMPARABLE)]: value for key, value in mean.items() if key[len(COMPARABLE)] == 'baseline'}
    lines = ['| data | method | input | epochs | top-1 of each seed | mean | errors removed |', '|---|---|---|---|---|---|---|']
    for key, group in groups.items():
        first = group[0]
        share = removed(first['method'], mean[key], baselines.get(key[:len(COMPARABLE)]))
        lines.append('| ' + ' | '.join([
            first['data'], first['method'], f"{first['input_size']} px", str(first['epochs']),
            ', '.join(f"{result['metrics']['top1']:.1f}" for result in group), f'**{mean[key]:.1f}**', share]) + ' |')
    return '\n'.join(lines)


def choice_table(results: list[dict[str, Any]]) -> str:
    """What decides between the methods: accuracy and gain, time and size, memory of a process that trains."""
    tuned, methods = tuned_and_methods(results)
    memory = json.loads((RESULTS / 'checks' / 'training_memory.json').read_text(encoding='utf-8'))
    whole = memory['baseline']['peak_mb']
    lines = ['| method | top-1 | over the tuned baseline | a photograph, beside its backbone | weights | memory of a training process |',
             '|---|---|---|---|---|---|',
             f"| tuned baseline | {tuned['metrics']['top1']:.1f} | - | 1.0 x | {methods[0]['cost']['backbone_parameters'] / 1e6:.1f} M "
             f"| {whole / 1e3:.1f} GB |"]
    for result in methods:
        cost = result['cost']
        peak = memory.get(result['method'], {}).get('parts_mb')
        lines.append(
            f"| [{result['method']}]({result['method']}.md) | **{result['metrics']['top1']:.1f}** | {_difference(result, tuned)} "
            f"| {cost['milliseconds'] / cost['backbone_milliseconds']:.1f} x "
            f"| {cost['parameters'] / 1e6:.1f} M | {f'{peak / 1e3:.1f} GB' if peak else 'not measured'} |")
    return '\n'.join(lines)


def method_table(method: str) -> str:
    """One row a full-size result of a method, each beside the tuned baseline of the same protocol."""
    lines = ['| weights | data | input | top-1 | over the tuned baseline | each prediction alone | box IoU >= 0.5 | a photograph |',
             '|' + '---|' * 8]
    results = load_results(RESULTS)
    for result in results:
        if result['method'] != method:
            continue
        tuned, = [other for other in results if other['method'] == 'baseline' and _key(other) == _key(result)]
        metrics, gain = result['metrics'], f"{result['metrics']['top1'] - tuned['metrics']['top1']:+.1f}"
        if 'correct' in metrics and 'correct' in tuned['metrics']:
            gain = _difference(result, tuned)
        cost = f"{result['cost']['milliseconds']:.0f} ms" if 'cost' in result else '-'
        lines.append(f"| `{result['model']}` | {result['data']} | {result['input_size']} px | **{metrics['top1']:.1f}** | {gain} "
                     f"| {_parts(metrics)} | {_boxes(metrics)} | {cost} |")
    return '\n'.join(lines)


def interval(value: dict[str, float], sign: str = '') -> str:
    """The mean and its interval; `sign` '+' for a difference."""
    mean, low, high = (f'{value[name]:{sign}.1f}' for name in ('mean', 'low', 'high'))
    return f'{mean} [{low}, {high}]'
