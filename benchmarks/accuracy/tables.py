"""Draw the tables of README.md, benchmarks/README.md, hub/README.md and docs/ from the result files, the manifest and the data sets.

    python benchmarks/accuracy/tables.py            # rewrite them
    python benchmarks/accuracy/tables.py --check    # fail if they are not what the files say
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.comparison import compare_records
from fgvc_zoo.data import LAYOUTS
from fgvc_zoo.evaluation import parts_of
from fgvc_zoo.models import METHODS, Method, find_method
from fgvc_zoo.publishing import COMPARABLE
from fgvc_zoo.tasks import task_settings

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'


def load_results(folder: Path) -> list[dict[str, Any]]:
    """Every result file of a folder, in the order of its name."""
    return [json.loads(path.read_text(encoding='utf-8')) for path in sorted(folder.glob('*.json'))]


def main_table(results: list[dict[str, Any]], plain: dict[str, Any]) -> str:
    """One row a method, against both opponents: the papers' protocol without the method, and the tuned baseline.

    Args:
        results: Of one data set and protocol: the tuned baseline and the methods.
        plain: Of plain fine-tuning in the papers' protocol.
    """
    tuned, methods = _tuned_and_methods(results)
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
    tuned, methods = _tuned_and_methods(results)
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


def _tuned_and_methods(results: list[dict[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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
    return _interval(dict(mean=comparison.difference, low=comparison.low, high=comparison.high), sign='+')


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
        removed = _removed(result['method'], metrics['top1'], baselines.get(_key(result)))
        lines.append('| ' + ' | '.join([
            result['data'], result['method'], f"`{result['backbone']}`", f"{result['input_size']} px", str(result['epochs']),
            f"**{metrics['top1']:.1f}**", f"{metrics['mean_per_class']:.1f}", removed, _parts(metrics), _boxes(metrics)]) + ' |')
    return '\n'.join(lines)


def _removed(method: str, top1: float, baseline: float | None) -> str:
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
        removed = _removed(first['method'], mean[key], baselines.get(key[:len(COMPARABLE)]))
        lines.append('| ' + ' | '.join([
            first['data'], first['method'], f"{first['input_size']} px", str(first['epochs']),
            ', '.join(f"{result['metrics']['top1']:.1f}" for result in group), f'**{mean[key]:.1f}**', removed]) + ' |')
    return '\n'.join(lines)


def model_table(methods: list[Method] | None = None) -> str:
    """One row a method: what is registered, and where trained weights are.

    Args:
        methods: Registered methods; those of this package if None.
    """
    weights: dict[str, list[str]] = {}
    for item in load_manifest():
        place = 'package' if item.in_package else item.repo or 'clone'
        method = find_method(item.architecture)
        weights.setdefault(method.name if method else '', []).append(f"`{item.name}` {item.metrics['top1']:.1f} % ({place})")
    lines = ['| models | paper | registered over | trained weights: top-1 (where they are) |', '|---|---|---|---|']
    for method in methods or [method for method in METHODS.values() if method.package == 'fgvc-zoo']:
        title, number = method.paper.name, method.paper.arxiv
        paper = f'[{title}](https://arxiv.org/abs/{number})' if number else title
        backbones = [f'`{backbone}`' for backbone in method.variants]
        lines.append(f"| `{method.name}_*` | {paper} | {', '.join(backbones)}; `{method.name}` with `backbone=` any timm model "
                     f"| {'<br>'.join(weights.get(method.name, [])) or '-'} |")
    return '\n'.join(lines)


def weights_table() -> str:
    """One row a checkpoint that comes with the package: what it knows, how good, large and fast it is."""
    lines = ['| weights | data | top-1 | parameters | images/s | file |', '|---|---|---|---|---|---|']
    for item in sorted(load_manifest(), key=lambda item: (item.tag, -item.metrics['top1'])):
        if item.in_package:
            cost = json.loads((ROOT / item.results).read_text(encoding='utf-8'))['cost']
            lines.append(f"| `{item.name}` | {item.data.partition(',')[0]}, {item.num_classes} classes | **{item.metrics['top1']:.1f} %** "
                         f"| {cost['parameters'] / 1e6:.1f} M | {1000 / cost['milliseconds']:.0f} | {item.size / 1e6:.0f} MB |")
    return '\n'.join(lines)


def checkpoint_table() -> str:
    """One row a checkpoint: what it is, how it loads from a clone, and the command that publishes it."""
    lines = ['| checkpoint | size | top-1 | load it from a clone | publish it |', '|---|---|---|---|---|']
    for item in load_manifest():
        name = item.name if item.in_package else f'local-dir:{item.folder}'
        place = f'`hf-hub:{item.repo}`' if item.repo else f'`fgvc-zoo publish {item.name} ORG/{item.name}`'
        call = f"`timm.create_model('{name}', pretrained=True)`"
        lines.append(f"| `{item.name}` | {item.size / 1e6:.1f} MB | {item.metrics['top1']:.1f} % | {call} | {place} |")
    return '\n'.join(lines)


def data_table() -> str:
    """One row a published data set."""
    lines = ['| --data | data set | classes | train | test | boxes | licence | reference |', '|---|---|---|---|---|---|---|---|']
    for name, layout in LAYOUTS.items():
        info = layout.info
        if not info.citation:
            continue
        counts = [f'{info.images[split]:,}' if split in info.images else '-' for split in ('train', 'test')]
        address = info.home.split(' ')[0]
        lines.append('| ' + ' | '.join([
            f'`{name}:PATH`', f'[{info.title}]({address})', str(info.classes or '-'), *counts, 'yes' if info.boxes else '-',
            info.licence or 'see its page', info.citation]) + ' |')
    return '\n'.join(lines)


def folders() -> str:
    """What the folder of each data set holds."""
    return '\n\n'.join(f'`{name}` ({layout.info.title}):\n\n```\n{layout.info.folder}\n```' for name, layout in LAYOUTS.items())


def operations_table() -> str:
    """One row an operation: our time beside that of its restatement."""
    record = json.loads((RESULTS / 'checks' / 'operations.json').read_text(encoding='utf-8'))
    what = dict(
        box='boxes of 32 maps, 448 px', crop='crops of 32 images, 448 px, with their boxes', drop='drops on 32 images, 448 px',
        pooling='pooling 32 maps by 32 images, 1,280 channels, 14 x 14', mamc='MAMC with its gradient, 32 pairs, 4 attentions')
    lines = ['| operation | fgvc-zoo | restated | ratio | largest difference |', '|---|---|---|---|---|']
    for name, row in record['operations'].items():
        lines.append(f"| {what[name]} | {row['milliseconds']:.0f} ms | {row['plain_milliseconds']:.0f} ms | {row['ratio']:.2f} "
                     f"| {row['difference']:.0e} |")
    return '\n'.join(lines)


def parity_table() -> str:
    """One row a task: how far several processes are from one."""
    record = json.loads((RESULTS / 'checks' / 'parity.json').read_text(encoding='utf-8'))
    layouts = list(next(iter(record['tasks'].values())))
    lines = ['| task | ' + ' | '.join(f'{name}: loss | weights' for name in layouts) + ' |', '|---' * (1 + 2 * len(layouts)) + '|']
    for task, rows in record['tasks'].items():
        cells = [f"{rows[name][key]:.0e}" if rows[name][key] else '0' for name in layouts for key in ('loss', 'weights')]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return '\n'.join(lines)


def calibration_table() -> str:
    """Calibrated checkpoints: the calibration error without and with the temperature, photographs kept and strangers recognised."""
    lines = ['| model | temperature | calibration error | with the temperature | photographs kept | strangers recognised |',
             '|---|---|---|---|---|---|']
    for result in filter(lambda result: 'calibrated' in result['metrics'], load_results(RESULTS)):
        after, strangers = result['metrics']['calibrated'], result['strangers']
        lines.append(f"| `{result['model']}` | {after['temperature']:.2f} | {100 * result['metrics']['ece']:.1f} % "
                     f"| {100 * after['ece']:.1f} % | {after['kept']:.1f} % "
                     f"| {strangers['caught']:.1f} % of {strangers['images']:,} ({strangers['data']}) |")
    return '\n'.join(lines)


def exports_table() -> str:
    """One row a registered model: the largest difference of a logit and the file's size, by format, or why there is no file."""
    record = json.loads((RESULTS / 'checks' / 'exports.json').read_text(encoding='utf-8'))
    lines = ['| model | input | ONNX: difference | size | torch.export: difference | size |', '|---|---|---|---|---|---|']
    for name, formats in sorted(record['results'].items()):
        cells = [' | '.join([f"{row['logits']:.0e}" if row['logits'] else '0', f"{row['megabytes']:.0f} MB"]) if 'error' not in row
                 else f"{row['error']} | -" for row in (formats['onnx'], formats['pt2'])]
        lines.append(f"| `{name}` | {formats['onnx'].get('input_size', '-')} px | {' | '.join(cells)} |")
    return '\n'.join(lines)


def faithfulness_table() -> str:
    """One row a method and kind of map, with 95 % intervals."""
    record = json.loads((RESULTS / 'checks' / 'faithfulness.json').read_text(encoding='utf-8'))
    lines = ['| method | map | deletion | insertion | pointing game | box IoU | IoU of its own box |', '|---|---|---|---|---|---|---|']
    for method, kinds in record['results'].items():
        for kind in ('own attention', 'Grad-CAM', 'central blob'):
            cells = [_interval(kinds[kind][name]) for name in ('deletion', 'insertion', 'pointing', 'box_iou')]
            own = _interval(kinds['own box']['box_iou']) if kind == 'own attention' else '-'
            lines.append(f"| {method} | {kind} | {' | '.join(cells)} | {own} |")
        differences = kinds['own attention less Grad-CAM']
        cells = [_interval(differences[name], sign='+') for name in ('deletion', 'insertion', 'pointing', 'box_iou')]
        lines.append(f"| {method} | own attention less Grad-CAM | {' | '.join(cells)} | - |")
    return '\n'.join(lines)


def _interval(value: dict[str, float], sign: str = '') -> str:
    """The mean and its interval; `sign` '+' for a difference."""
    mean, low, high = (f'{value[name]:{sign}.1f}' for name in ('mean', 'low', 'high'))
    return f'{mean} [{low}, {high}]'


def choice_table(results: list[dict[str, Any]]) -> str:
    """What decides between the methods: accuracy and gain, time and size, memory of a training step."""
    tuned, methods = _tuned_and_methods(results)
    memory = json.loads((RESULTS / 'checks' / 'training_memory.json').read_text(encoding='utf-8'))
    whole = memory['baseline']['peak_mb']
    lines = ['| method | top-1 | over the tuned baseline | a photograph, beside its backbone | weights | memory of a training step |',
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


def _of(data: str) -> list[dict[str, Any]]:
    return [result for result in load_results(RESULTS) if result['data'] == data]


TABLES = dict(
    cub200=lambda: main_table(_of('cub200'), load_results(RESULTS / 'plain')[0]),
    details=lambda: detail_table(_of('cub200'), load_results(RESULTS / 'plain')[0]),
    grocery=lambda: accuracy_table(_of('grocery')),
    small=lambda: accuracy_table(load_results(RESULTS / 'small')),
    seeds=lambda: seed_table(load_results(RESULTS / 'small') + load_results(RESULTS / 'small' / 'seeds')),
    models=model_table, weights=weights_table, checkpoints=checkpoint_table, data=data_table, folders=folders,
    parity=parity_table, operations=operations_table, calibration=calibration_table, exports=exports_table, faithfulness=faithfulness_table,
    choice=lambda: choice_table(_of('cub200')), **{f'method {name}': partial(method_table, name) for name in METHODS})
FILES = (ROOT / 'README.md', ROOT / 'benchmarks' / 'README.md', ROOT / 'hub' / 'README.md', *sorted((ROOT / 'docs').rglob('*.md')))


def render(text: str) -> str:
    """The text with each table between its two marks redrawn."""
    for name, draw in TABLES.items():
        begin, end = f'<!-- {name} -->', f'<!-- /{name} -->'
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = f'{before}{begin}\n{draw()}\n{end}{after}'
    return text


def main() -> int:
    stale = []
    for path in FILES:
        text = path.read_text(encoding='utf-8')
        drawn = render(text)
        if drawn != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if '--check' not in sys.argv[1:]:
                path.write_text(drawn, encoding='utf-8')
    if '--check' not in sys.argv[1:]:
        return 0
    for name in stale:
        print(f'{name} differs from the result files and the manifest: run python benchmarks/accuracy/tables.py')
    return int(bool(stale))


if __name__ == '__main__':
    raise SystemExit(main())
