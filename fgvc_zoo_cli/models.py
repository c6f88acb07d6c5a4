"""`fgvc-zoo models`: what is registered, and what has weights."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import Annotated, Any

import typer

from fgvc_zoo_cli._common import Json
from fgvc_zoo_cli._terminal import console, print_json


def models(
        pattern: Annotated[str, typer.Argument(help="Such as '*resnet*'.")] = '*',
        as_json: Json = False,
) -> None:
    """List the registered models and which have weights."""
    from rich.table import Table

    from fgvc_zoo._errors import UserError, nearest

    rows = [row for row in _rows() if fnmatch(row['name'], pattern) or fnmatch(row['name'].split('.')[0], pattern)]
    if not rows:
        names = [row['name'] for row in _rows()]
        raise UserError(f"no model matches '{pattern}'{nearest(pattern, names)} (fgvc-zoo models shows all)")
    if as_json:
        print_json(rows)
        return
    out = console()
    if not out.is_terminal:
        out.width = 1000  # one line a model for programs
    table = Table(box=None, padding=(0, 2 if not out.is_terminal or out.width >= 100 else 1, 0, 0), pad_edge=False)
    for column in ('model', 'px', 'weights', 'classes', 'top-1', 'trained on'):
        # a name that is cut or broken cannot be copied; the last column takes what room there is
        table.add_column(column, justify='right' if column in ('px', 'classes', 'top-1') else 'left', overflow='fold',
                         no_wrap=column != 'trained on' or not out.is_terminal, min_width=max(len(row['name']) for row in rows)
                         if column == 'model' else None)
    for row in rows:
        data = row['data'] or '-'
        table.add_row(
            row['name'], str(row['input_size'] or '-'), row['weights'] or '-', str(row['num_classes'] or '-'),
            f"{row['top1']:.1f} %" if row['top1'] is not None else '-', data.partition(',')[0] if out.is_terminal else data)
    out.print(table, soft_wrap=False, crop=False)


def _rows() -> list[dict[str, Any]]:
    """One row for each model, and one more for each of its checkpoints."""
    import timm

    from fgvc_zoo.checkpoints import load_manifest
    from fgvc_zoo.models import METHODS

    rows: list[dict[str, Any]] = []
    for method in METHODS.values():
        for name in method.model_names:
            cfg = timm.get_pretrained_cfg(name)
            # without weights the architecture's own size, which training takes, and not that of its default checkpoint
            size = method.cfgs.get(name, {}).get('input_size', cfg.input_size if cfg else (None,))[-1]
            # the weights of this package's methods are in the manifest
            own = method.weights.get(name) if method.package != 'fgvc-zoo' else None
            rows.append(dict(
                name=name, input_size=size, weights=(own.hf_hub_id or 'package') if own else None,
                num_classes=own.num_classes if own else None, top1=None, data=None))
            rows.extend(
                dict(name=item.name, input_size=item.input_size, weights='package' if item.in_package else item.repo or 'clone',
                     num_classes=item.num_classes, top1=item.metrics['top1'], data=item.data)
                for item in load_manifest() if item.architecture == name)
    return rows
