"""`fgvc-zoo evaluate`: figures on the screen and in a file."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fgvc_zoo_cli._common import BatchSize, Data, Device, Workers, command_line
from fgvc_zoo_cli._terminal import console

if TYPE_CHECKING:
    from fgvc_zoo.loading import TimmModel


def evaluate(
        model: Annotated[str, typer.Argument(help='A name with weights, or the folder of a run.')],
        data: Data,
        split: Annotated[str, typer.Option(help='test, train, holdout ...')] = 'test',
        batch_size: BatchSize = 32,
        workers: Workers = 2,
        json_file: Annotated[Optional[Path], typer.Option('--json', help='Write the result to this file.')] = None,
        device: Device = None,
) -> dict[str, Any]:
    """Measure a model: accuracies of each pass, localisation, calibration."""
    from fgvc_zoo import evaluation
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._files import check_output, write_json
    from fgvc_zoo._progress import progress_bar
    from fgvc_zoo.data import open_dataset
    from fgvc_zoo.loading import eval_transform_for, load_model
    from fgvc_zoo.publishing import golden_logits

    if json_file is not None:
        check_output(json_file)
    begun = time.monotonic()
    place = choose_device(device)
    network = load_model(model)
    golden = golden_logits(network)[0, :10]
    network.to(place)
    dataset = open_dataset(data, split, transform=eval_transform_for(network))
    _check_classes(network, dataset.class_names, model)
    err = console(stderr=True)
    with progress_bar(err.is_terminal, err) as bar:
        task = bar.add_task(f'measuring on {split}', total=len(dataset))
        metrics = evaluation.evaluate(
            network, dataset, batch_size, workers, place, progress=lambda done, total: bar.update(task, completed=done))
    record = _record(model, network, data, split, metrics, time.monotonic() - begun, str(place))
    record['golden'] = [round(value, 5) for value in golden.tolist()]  # lets publishing recognise these weights
    if json_file is not None:
        write_json(json_file, record)
    _show(metrics, len(dataset))
    return record


def _check_classes(model: TimmModel, names: list[str], name: str) -> None:
    from fgvc_zoo._errors import UserError
    from fgvc_zoo.loading import class_names

    known = class_names(model)
    if len(known) != len(names):
        raise UserError(f"'{name}' knows {len(known)} classes, the data have {len(names)}; they do not belong together")
    different = [(ours, theirs) for ours, theirs in zip(known, names, strict=True) if ours != theirs]
    if different and not known[0].startswith('class '):
        raise UserError(f"'{name}' knows other classes than the data: {different[0][0]!r} stands where the data have "
                        f"{different[0][1]!r}")


def _record(
        name: str, model: TimmModel, data: str, split: str, metrics: dict[str, Any], seconds: float, device: str) -> dict[str, Any]:
    """The result file. What is known of the model's training comes from its run folder or from the manifest."""
    from fgvc_zoo._files import without_folders
    from fgvc_zoo.checkpoints import load_manifest
    from fgvc_zoo.evaluation import method_and_backbone, result_record

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
        command=without_folders(command_line()), seconds=seconds, device=device, **facts)


def _show(metrics: dict[str, Any], count: int) -> None:
    from rich.table import Table

    from fgvc_zoo._errors import plain
    from fgvc_zoo.evaluation import parts_of

    out = console()
    table = Table(title=f'{count} images, percent', title_justify='left')
    for column in ('', 'top-1', 'top-5', 'mean per class'):
        table.add_column(column, justify='left' if not column else 'right')
    for part in parts_of(metrics) or ['']:
        values = metrics[part] if part else metrics
        table.add_row(part, *(f'{values[name]:.2f}' for name in ('top1', 'top5', 'mean_per_class')))
    out.print(table, soft_wrap=False)
    if 'localization' in metrics:
        overlap = metrics['localization']
        out.print(f"box IoU >= 0.5: {overlap['iou50']:.1f} % of the images; "
                  f"a central box of the same size: {overlap['central_box_iou50']:.1f} %")
    out.print(f"negative log-likelihood {metrics['nll']:.3f}, expected calibration error {metrics['ece']:.3f}")
    if metrics['confusions']:
        out.print('most frequent confusions: ' + '; '.join(
            f"{plain(pair['true'])} for {plain(pair['predicted'])} ({pair['count']})" for pair in metrics['confusions'][:5]))
