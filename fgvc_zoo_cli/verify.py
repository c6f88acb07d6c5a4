"""`fgvc-zoo verify`: check the files, logits and figures of a published model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from fgvc_zoo_cli._common import BatchSize, Device, Workers
from fgvc_zoo_cli._terminal import console
from fgvc_zoo_cli.evaluate import evaluate


def verify(
        model: Annotated[str, typer.Argument(help='ORG/NAME or ORG/NAME@REVISION on the Hugging Face Hub, or a staged folder.')],
        data: Annotated[Optional[str], typer.Option(help='Measure its figures again on NAME:PATH or PATH.')] = None,
        split: Annotated[Optional[str], typer.Option(help='The split that was measured if not given.')] = None,
        tolerance: Annotated[float, typer.Option(min=0, help='Percentage points a figure may differ.')] = 0.2,
        batch_size: BatchSize = 32,
        workers: Workers = 2,
        device: Device = None,
) -> None:
    """Check that a published model is intact, reproduces its golden logits, and reaches its figures."""
    from rich.table import Table

    from fgvc_zoo._errors import plain
    from fgvc_zoo._transfer import download
    from fgvc_zoo.publishing import CHECKSUMS, RESULT, check

    folder = Path(model.removeprefix('local-dir:'))
    if not folder.is_dir():
        folder = download(model.removeprefix('hf-hub:'))
    gap = check(folder)
    out = console()
    count = len(json.loads((folder / CHECKSUMS).read_text(encoding='utf-8')))
    out.print(f'{count} files are intact; the golden logits differ by at most {gap:.1g}')
    if data is None:
        return
    record = json.loads((folder / RESULT).read_text(encoding='utf-8'))
    published = _figures(record['metrics'])
    measured = _figures(evaluate(str(folder), data, split or record['split'], batch_size, workers, device=device)['metrics'])
    title = plain(f"{record['data']}, {record['split']}")
    table = Table('percent', 'published', 'measured', 'difference', title=title, title_justify='left')
    for key, value in published.items():
        now = measured.get(key, float('nan'))
        table.add_row(plain(key), f'{value:.2f}', f'{now:.2f}', f'{now - value:+.2f}')
    out.print(table, soft_wrap=False)
    worst = max(abs(measured.get(key, float('inf')) - value) for key, value in published.items())
    holds = worst <= tolerance
    out.print(f"the figures {'hold' if holds else 'do not hold'}: they differ by at most {worst:.2f} percentage points "
              f'(tolerance {tolerance:g})')
    raise typer.Exit(0 if holds else 1)


def _figures(metrics: dict[str, Any]) -> dict[str, float]:
    """Every accuracy in percent, by name."""
    from fgvc_zoo.evaluation import parts_of

    figures = {key: metrics[key] for key in ('top1', 'top5', 'mean_per_class')}
    for part in parts_of(metrics):
        figures[f'{part} top1'] = metrics[part]['top1']
    return figures
