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

import fgvc_zoo  # noqa: F401  (registers the models)
from fgvc_zoo.checkpoints import load_manifest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / 'benchmarks' / 'results'


def load_results() -> list[dict[str, Any]]:
    """Every result file, in the order of its name."""
    return [json.loads(path.read_text(encoding='utf-8')) for path in sorted(RESULTS.glob('*.json'))]


def accuracy_table(results: list[dict[str, Any]]) -> str:
    """One row a result: the baseline of each data set first, then the methods with the share of its errors that they remove."""
    lines = [
        '| data | method | backbone | input | epochs | top-1 | raw pass | refined pass | mean per class | errors removed |',
        '|---|---|---|---|---|---|---|---|---|---|']
    baselines = {_key(result): result['metrics']['top1'] for result in results if result['method'] == 'baseline'}
    for result in sorted(results, key=lambda item: (item['data'], item['method'] != 'baseline', item['method'])):
        metrics = result['metrics']
        baseline = baselines.get(_key(result))
        removed = '-'
        if result['method'] != 'baseline' and baseline is not None:
            removed = f"{100 * (metrics['top1'] - baseline) / (100 - baseline):.0f} %"
        passes = [f"{metrics[name]['top1']:.1f}" if name in metrics else '-' for name in ('raw', 'refined')]
        lines.append('| ' + ' | '.join([
            result['data'], result['method'], f"`{result['backbone']}`", f"{result['input_size']} px", str(result['epochs']),
            f"**{metrics['top1']:.1f}**", *passes, f"{metrics['mean_per_class']:.1f}", removed]) + ' |')
    return '\n'.join(lines)


def _key(result: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(result[name] for name in ('data', 'split', 'backbone', 'input_size', 'epochs'))


def model_table() -> str:
    """Registered models and whether trained weights come with the package."""
    weights: dict[str, list[str]] = {}
    for item in load_manifest():
        weights.setdefault(item.architecture, []).append(f"`{item.tag}` {item.metrics['top1']:.1f} %")
    lines = ['| model | input | trained weights in the package (top-1) |', '|---|---|---|']
    for name in timm.list_models(module='wsdan'):
        size = timm.get_pretrained_cfg_value(name, 'input_size')[-1]
        shown = f'`{name}`' if name != 'wsdan' else '`wsdan` with `backbone=`any timm model'
        lines.append(f"| {shown} | {size} px | {', '.join(weights.get(name, [])) or '-'} |")
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
