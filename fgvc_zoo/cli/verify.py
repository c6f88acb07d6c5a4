"""`fgvc-zoo verify`: is a published model what it says?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fgvc_zoo._transfer import download
from fgvc_zoo.cli import evaluate
from fgvc_zoo.evaluation import parts_of
from fgvc_zoo.publishing import CHECKSUMS, RESULT, check


def run(
        name: str, data: str | None, split: str | None, tolerance: float, batch_size: int, workers: int, device: str | None) -> int:
    """Check the files and the golden logits; with data, measure again.

    Returns:
        The exit status: 1 if a figure differs by more than `tolerance` percentage points, else 0.
    """
    folder = Path(name.removeprefix('local-dir:'))
    if not folder.is_dir():
        folder = download(name.removeprefix('hf-hub:'))
    gap = check(folder)
    out = Console(highlight=False, soft_wrap=True)
    count = len(json.loads((folder / CHECKSUMS).read_text(encoding='utf-8')))
    out.print(f'{count} files are intact; the golden logits differ by at most {gap:.1g}')
    if data is None:
        return 0
    record = json.loads((folder / RESULT).read_text(encoding='utf-8'))
    published = _figures(record['metrics'])
    measured = _figures(evaluate.run(str(folder), data, split or record['split'], batch_size, workers, None, device)['metrics'])
    table = Table('percent', 'published', 'measured', 'difference', title=f"{record['data']}, {record['split']}", title_justify='left')
    for key, value in published.items():
        now = measured.get(key, float('nan'))
        table.add_row(key, f'{value:.2f}', f'{now:.2f}', f'{now - value:+.2f}')
    out.print(table)
    worst = max(abs(measured.get(key, float('inf')) - value) for key, value in published.items())
    holds = worst <= tolerance
    out.print(f"the figures {'hold' if holds else 'do not hold'}: they differ by at most {worst:.2f} percentage points "
              f'(tolerance {tolerance:g})')
    return 0 if holds else 1


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """Every accuracy in percent, by name."""
    figures = {key: metrics[key] for key in ('top1', 'top5', 'mean_per_class')}
    for part in parts_of(metrics):
        figures[f'{part} top1'] = metrics[part]['top1']
    return figures
