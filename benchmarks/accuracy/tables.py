"""Draw README's tables from the result files and the manifest; nothing in them is typed.

    python benchmarks/accuracy/tables.py            # rewrite README.md
    python benchmarks/accuracy/tables.py --check    # fail if README.md is not what the files say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import timm

from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.evaluation import parts_of
from fgvc_zoo.hub import COMPARABLE
from fgvc_zoo.models import METHODS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'


def load_results() -> list[dict[str, Any]]:
    """Every result file, in the order of its name."""
    return [json.loads(path.read_text(encoding='utf-8')) for path in sorted(RESULTS.glob('*.json'))]


def accuracy_table(results: list[dict[str, Any]]) -> str:
    """One row a result: the baseline of each data set first, then the methods with the share of its errors that they remove."""
    lines = [
        '| data | method | backbone | input | epochs | top-1 | mean per class | errors removed | parts alone | box meets the true one |',
        '|---|---|---|---|---|---|---|---|---|---|']
    baselines = {_key(result): result['metrics']['top1'] for result in results if result['method'] == 'baseline'}
    for result in sorted(results, key=lambda item: (item['data'], item['method'] != 'baseline', item['method'])):
        metrics = result['metrics']
        baseline = baselines.get(_key(result))
        removed = '-'
        if result['method'] != 'baseline' and baseline is not None:
            removed = f"{100 * (metrics['top1'] - baseline) / (100 - baseline):.0f} %"
        parts = ', '.join(f"{name} {metrics[name]['top1']:.1f}" for name in parts_of(metrics) if name != 'combined')
        found = metrics.get('localization')
        boxes = f"{found['iou50']:.0f} % (a central box: {found['central_box_iou50']:.0f} %)" if found else '-'
        lines.append('| ' + ' | '.join([
            result['data'], result['method'], f"`{result['backbone']}`", f"{result['input_size']} px", str(result['epochs']),
            f"**{metrics['top1']:.1f}**", f"{metrics['mean_per_class']:.1f}", removed, parts or '-', boxes]) + ' |')
    return '\n'.join(lines)


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[name] for name in COMPARABLE)


def model_table() -> str:
    """One row a method: what is registered, and where trained weights are."""
    weights: dict[str, list[str]] = {}
    for item in load_manifest():
        place = 'package' if item.in_package else item.repo or 'clone'
        method = item.architecture.partition('_')[0]
        weights.setdefault(method, []).append(f"`{item.name}` {item.metrics['top1']:.1f} % ({place})")
    lines = ['| models | paper | registered over | trained weights: top-1 (where they are) |', '|---|---|---|---|']
    for method in [method for method in METHODS if timm.is_model(method)]:
        cfg = timm.get_pretrained_cfg(method)
        number = (cfg.paper_ids or '').partition(':')[2]
        paper = f'[{cfg.paper_name}](https://arxiv.org/abs/{number})' if number else cfg.paper_name
        backbones = [f"`{name.partition('_')[2]}`" for name in timm.list_models(module=method) if name != method]
        lines.append(f"| `{method}_*` | {paper} | {', '.join(backbones)}; `{method}` with `backbone=` any timm model "
                     f"| {'<br>'.join(weights.get(method, [])) or '-'} |")
    return '\n'.join(lines)


def render(text: str) -> str:
    """README's text with each table between its two marks redrawn."""
    for name, table in (('results', accuracy_table(load_results())), ('models', model_table())):
        begin, end = f'<!-- {name} -->', f'<!-- /{name} -->'
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f'{before}{begin}\n{table}\n{end}{after}'
    return text


def main() -> int:
    path = ROOT / 'README.md'
    text = path.read_text(encoding='utf-8')
    drawn = render(text)
    if '--check' in sys.argv[1:]:
        if drawn != text:
            print('README.md differs from the result files: run python benchmarks/accuracy/tables.py')
        return int(drawn != text)
    path.write_text(drawn, encoding='utf-8')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
