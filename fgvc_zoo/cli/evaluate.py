"""`fgvc-zoo evaluate`: figures on the screen and in a file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fgvc_zoo._errors import UserError
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.cli._common import choose_device, progress_bar
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import evaluate, method_and_backbone, parts_of, result_record, write_json
from fgvc_zoo.hub import golden_logits
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for, load_model


def run(
        name: str, data: str, split: str, batch_size: int, workers: int, json_file: Path | None, device: str | None) -> dict[str, Any]:
    """Measure, print, write."""
    begun = time.monotonic()
    place = choose_device(device)
    model = load_model(name)
    golden = golden_logits(model)[0, :10]
    model.to(place)
    dataset = open_dataset(data, split, transform=eval_transform_for(model))
    _check_classes(model, dataset.class_names, name)
    err = Console(stderr=True)
    with progress_bar(err) as bar:
        shown = bar.add_task(f'measuring on {split}', total=len(dataset))
        metrics = evaluate(
            model, dataset, batch_size, workers, place, progress=lambda done, total: bar.update(shown, completed=done))
    record = _record(name, model, data, split, metrics, time.monotonic() - begun)
    record['golden'] = [round(value, 5) for value in golden.tolist()]  # so that publishing can tell these weights from others
    if json_file is not None:
        write_json(json_file, record)
    _show(Console(), metrics, len(dataset))
    return record


def _check_classes(model: TimmModel, names: list[str], name: str) -> None:
    known = class_names(model)
    if len(known) != len(names):
        raise UserError(f"'{name}' knows {len(known)} classes, the data have {len(names)}; they do not belong together")
    different = [(ours, theirs) for ours, theirs in zip(known, names, strict=True) if ours != theirs]
    if different and not known[0].startswith('class '):
        raise UserError(f"'{name}' knows other classes than the data: {different[0][0]!r} stands where the data have "
                        f"{different[0][1]!r}")


def _record(name: str, model: TimmModel, data: str, split: str, metrics: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What is known of the model's training comes from its run folder or from the manifest."""
    folder = Path(name.removeprefix('local-dir:'))
    cfg = model.pretrained_cfg
    architecture = cfg['architecture']
    task = None
    facts: dict[str, Any] = dict(recipe={}, seed=0, epochs=0, weights=None)
    if (folder / 'run.json').is_file():
        config = json.loads((folder / 'run.json').read_text(encoding='utf-8'))['config']
        task = config['recipe']['task']
        facts = dict(
            recipe=config['recipe'], seed=config['seed'], epochs=config['recipe']['epochs'], weights=folder / 'model.safetensors')
    for item in load_manifest():
        if name == item.name:
            task = item.recipe
            facts = dict(recipe=dict(name=item.recipe), seed=item.seed, epochs=item.epochs, weights=item.file)
    method, backbone = method_and_backbone(model, task)
    return result_record(
        model=name if not folder.is_dir() else architecture, method=method, backbone=backbone,
        data=Path(data.rpartition(':')[2]).name, split=split, input_size=cfg['input_size'][-1], metrics=metrics,
        command=' '.join(['fgvc-zoo', *sys.argv[1:]]), seconds=seconds, **facts)


def _show(out: Console, metrics: dict[str, Any], count: int) -> None:
    table = Table(title=f'{count} images, percent', title_justify='left')
    for column in ('', 'top-1', 'top-5', 'mean per class'):
        table.add_column(column, justify='left' if not column else 'right')
    for part in parts_of(metrics) or ['']:
        values = metrics[part] if part else metrics
        table.add_row(part, *(f'{values[name]:.2f}' for name in ('top1', 'top5', 'mean_per_class')))
    out.print(table)
    if 'localization' in metrics:
        found = metrics['localization']
        out.print(f"attended box meets the true one (IoU >= 0.5): {found['iou50']:.1f} % of the images; "
                  f"a central box of the same size: {found['central_box_iou50']:.1f} %")
    out.print(f"negative log-likelihood {metrics['nll']:.3f}, expected calibration error {metrics['ece']:.3f}")
    if metrics['confusions']:
        out.print('most frequent confusions: ' + '; '.join(
            f"{pair['true']} for {pair['predicted']} ({pair['count']})" for pair in metrics['confusions'][:5]))
