"""Draw docs/results.svg from the result files: the gain of each method over the tuned baseline on CUB-200-2011, with its interval.

    python benchmarks/accuracy/chart.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accuracy_tables import RESULTS, ROOT, load_results, results_of, tuned_and_methods
from matplotlib import rcParams
from matplotlib.figure import Figure

from fgvc_zoo.comparison import compare_records

NAMES = dict(wsdan='WS-DAN', wsban='WS-BAN', apinet='API-Net', racnn='RA-CNN', osme='OSME + MAMC')


def rows(results: list[dict[str, Any]], plain: dict[str, Any]) -> list[tuple[str, float, float, float, float]]:
    """(name, top-1, difference from the tuned baseline, its lowest and highest value), the best first.

    Args:
        results: Of one protocol: the tuned baseline and the methods.
        plain: Of plain fine-tuning.
    """
    tuned, methods = tuned_and_methods(results)
    found = []
    for result in [plain, *methods]:
        comparison = compare_records(result, tuned)
        name = 'plain fine-tuning' if result is plain else NAMES[result['method']]
        found.append((name, result['metrics']['top1'], comparison.difference, comparison.low, comparison.high))
    return sorted(found, key=lambda row: -row[1])


def draw(found: list[tuple[str, float, float, float, float]], tuned: float, path: Path) -> None:
    rcParams['svg.fonttype'], rcParams['svg.hashsalt'] = 'path', path.name
    figure = Figure(figsize=(7.2, 2.7), layout='constrained')
    axis = figure.subplots()
    for row, (_, top1, difference, low, high) in enumerate(found):
        color = '#1b6ca8' if low > 0 else '#b3541e' if high < 0 else '#777777'
        axis.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle='butt')
        axis.plot(difference, row, 'o', color=color, markersize=6)
        axis.annotate(f'{top1:.1f} %', (high, row), (7, 0), textcoords='offset points', va='center', fontsize=9, color='#333333')
    axis.axvline(0, color='#333333', linewidth=1)
    axis.set_yticks(range(len(found)), [name for name, *_ in found])
    axis.invert_yaxis()
    axis.set_xlim(-4.2, 5.2)
    axis.set_xlabel(f'points of top-1 accuracy beside the tuned baseline ({tuned:.1f} %), with 95 % intervals')
    axis.spines[['top', 'right', 'left']].set_visible(False)
    axis.tick_params(left=False)
    axis.grid(axis='x', alpha=0.25)
    figure.savefig(path, metadata=dict(Date=None), facecolor='white')


def main() -> None:
    results, (plain,) = results_of('cub200'), load_results(RESULTS / 'plain')
    tuned, _ = tuned_and_methods(results)
    draw(rows(results, plain), tuned['metrics']['top1'], ROOT / 'docs' / 'results.svg')


if __name__ == '__main__':
    main()
