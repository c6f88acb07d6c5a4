"""Draw the tables of README.md, benchmarks/README.md, hub/README.md and docs/ from the result files, the manifest and the data sets.

    python benchmarks/accuracy/tables.py            # rewrite them
    python benchmarks/accuracy/tables.py --check    # fail if they are not what the files say
"""

from __future__ import annotations

import json
import sys
from functools import partial

from accuracy_tables import (
    RESULTS,
    ROOT,
    accuracy_table,
    choice_table,
    detail_table,
    interval,
    load_results,
    main_table,
    method_table,
    results_of,
    seed_table,
)

from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.data import LAYOUTS
from fgvc_zoo.models import METHODS, Method, find_method


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
        lines.append('| ' + ' | '.join([
            f'`{name}:PATH`', f'[{info.title}]({info.home})', str(info.classes or '-'), *counts, 'yes' if info.boxes else '-',
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


def scores_table() -> str:
    """One row a score and model: how well it tells photographs of the model's classes from others."""
    lines = ['| model | score | area under the curve | strangers found, 99 % kept | 95 % kept |', '|---|---|---|---|---|']
    for path in sorted((RESULTS / 'checks').glob('strangers_*.json')):
        record = json.loads(path.read_text(encoding='utf-8'))
        for name, row in record['results'].items():
            lines.append(f"| {record['model']}, {record['data']} | {name} | {row['roc_area']:.1f} % | {row['caught_at_99']:.1f} % "
                         f"| {row['caught_at_95']:.1f} % |")
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
            cells = [interval(kinds[kind][name]) for name in ('deletion', 'insertion', 'pointing', 'box_iou')]
            own = interval(kinds['own box']['box_iou']) if kind == 'own attention' and 'own box' in kinds else '-'
            lines.append(f"| {method} | {kind} | {' | '.join(cells)} | {own} |")
        differences = kinds['own attention less Grad-CAM']
        cells = [interval(differences[name], sign='+') for name in ('deletion', 'insertion', 'pointing', 'box_iou')]
        lines.append(f"| {method} | own attention less Grad-CAM | {' | '.join(cells)} | - |")
    return '\n'.join(lines)


TABLES = dict(
    cub200=lambda: main_table(results_of('cub200'), load_results(RESULTS / 'plain')[0]),
    details=lambda: detail_table(results_of('cub200'), load_results(RESULTS / 'plain')[0]),
    grocery=lambda: accuracy_table(results_of('grocery')),
    small=lambda: accuracy_table(load_results(RESULTS / 'small')),
    seeds=lambda: seed_table(load_results(RESULTS / 'small') + load_results(RESULTS / 'small' / 'seeds')),
    models=model_table, weights=weights_table, checkpoints=checkpoint_table, data=data_table, folders=folders,
    parity=parity_table, operations=operations_table, calibration=calibration_table, scores=scores_table,
    exports=exports_table, faithfulness=faithfulness_table,
    choice=lambda: choice_table(results_of('cub200')), **{f'method {name}': partial(method_table, name) for name in METHODS})
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
