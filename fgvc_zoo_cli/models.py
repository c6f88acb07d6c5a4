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
    table = Table()
    for column in ('model', 'input', 'weights', 'classes', 'top-1', 'trained on'):
        table.add_column(column, justify='right' if column in ('classes', 'top-1') else 'left', overflow='fold')
    for row in rows:
        table.add_row(
            row['name'], f"{row['input_size']} px", row['weights'] or '-', str(row['num_classes'] or '-'),
            f"{row['top1']:.1f} %" if row['top1'] is not None else '-', row['data'] or '-')
    console().print(table, soft_wrap=False)


def _rows() -> list[dict[str, Any]]:
    """One row for each model, and one more for each of its checkpoints."""
    import timm

    from fgvc_zoo.checkpoints import load_manifest
    from fgvc_zoo.models import METHODS

    rows: list[dict[str, Any]] = []
    for method in METHODS.values():
        for name in method.model_names:
            cfg = timm.get_pretrained_cfg(name)
            size = cfg.input_size[-1] if cfg else None
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
