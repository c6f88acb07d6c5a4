"""`fgvc-zoo evaluate`: figures on the screen and in a file."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fgvc_zoo_cli._common import MODEL, BatchSize, Data, Device, Workers, command_line
from fgvc_zoo_cli._measuring import collect, trained_on
from fgvc_zoo_cli._terminal import console

# what the parts of an inference see; names such as 'scale1' say it themselves
_PARTS = dict(raw='the whole image', refined='the object, enlarged', fusion='the classifier of all scales', combined="the model's answer")

if TYPE_CHECKING:
    from fgvc_zoo.data import ImageDataset
    from fgvc_zoo.loading import TimmModel


def evaluate(
        model: Annotated[str, typer.Argument(help=MODEL)],
        data: Data,
        split: Annotated[str, typer.Option(help='test, train, holdout ...')] = 'test',
        batch_size: BatchSize = 32,
        workers: Workers = 2,
        strangers: Annotated[Optional[str], typer.Option(
            metavar='DATA', help='Photographs of other things, as for --data: count those that a calibrated model recognises.')] = None,
        json_file: Annotated[Optional[Path], typer.Option('--json', help='Write the result to this file.')] = None,
        report: Annotated[Optional[Path], typer.Option(
            metavar='FOLDER', help='Write a page with tables, charts and photographs, and the predictions, to this folder.')] = None,
        device: Device = None,
) -> dict[str, Any]:
    """Measure a model: accuracies of each pass, localisation, calibration. The classes of the data are found by their names."""
    from fgvc_zoo import evaluation
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import plain
    from fgvc_zoo._files import check_output, write_json
    from fgvc_zoo.data import check_outside, open_dataset
    from fgvc_zoo.loading import eval_transform_for, load_model
    from fgvc_zoo.publishing import golden_logits
    from fgvc_zoo.report import check_report_folder, write_report

    if json_file is not None:
        check_output(json_file, 'model', 'data', 'split', 'metrics')
    begun = time.monotonic()
    place = choose_device(device)
    network = load_model(model)
    golden = golden_logits(network)[0, :10]
    network.to(place)
    dataset = open_dataset(data, split, transform=eval_transform_for(network))
    if report is not None:
        check_outside(dataset, report)
        check_report_folder(report)
    matching = _match_classes(network, dataset, model)
    others = _open_strangers(network, strangers, split) if strangers else None
    if own := trained_on(model, data, dataset):
        warnings.warn(f"this run was trained on the split '{own}', which has photographs of '{split}': the accuracy on them says nothing "
                      'about others', stacklevel=1)
    answers = collect(network, dataset, f'measuring on {split}', batch_size, workers)
    metrics = evaluation.summarize(answers, dataset, network.pretrained_cfg)
    record = _record(model, network, evaluation.data_name(dataset), split, metrics, time.monotonic() - begun, str(place))
    record.update(dataset.info.reference(len(dataset)))
    if matching:
        record['classes'] = matching
    if strangers and others is not None:
        caught = evaluation.unknown(collect(network, others, 'measuring strangers', batch_size, workers))
        record['strangers'] = dict(
            data=evaluation.data_name(others), split=split, images=len(others), caught=round(caught, 3))
    record['golden'] = [round(value, 5) for value in golden.tolist()]  # lets publishing recognise these weights
    if json_file is not None:
        write_json(json_file, record)
    if report is not None:
        page = write_report(report, record, answers, dataset)
        console(stderr=True).print(f'the report is {plain(str(page))}')
    _show(record, len(dataset))
    return record


def _match_classes(model: TimmModel, dataset: ImageDataset, name: str) -> dict[str, list[str]]:
    """Give the images the model's classes, by their names. Images of classes that it does not know cannot be answered and are left out.

    Returns:
        The data's names that it knows and does not know; nothing if they are its own, in its order.
    """
    from fgvc_zoo._errors import UserError, nearest
    from fgvc_zoo.data import match_classes
    from fgvc_zoo.loading import class_names

    known, names = class_names(model), dataset.class_names
    if known == names or (known[0] == 'class 0' and len(known) == len(names)):  # a model without names is asked by position
        return {}
    classes = match_classes(names, known)
    matched = [own for own, index in zip(names, classes, strict=True) if index is not None]
    unknown = [own for own, index in zip(names, classes, strict=True) if index is None]
    if not matched:
        raise UserError(f"'{name}' knows none of the classes of the data, such as '{names[0]}'{nearest(names[0], known)} (it knows "
                        f"{len(known)}, such as '{known[0]}')")
    if sorted(index for index in classes if index is not None) != sorted({index for index in classes if index is not None}):
        raise UserError(f"two classes of the data have the same name for '{name}', but for case, spaces, '_' or '-': rename one of them")
    dataset.relabel(classes, known)
    if not len(dataset):
        raise UserError(f"'{dataset.root}' has no images of the classes that '{name}' knows, such as '{matched[0]}'")
    left_out = f"; {len(unknown)} are unknown to it and left out, such as '{unknown[0]}'" if unknown else ''
    if unknown or len(matched) < len(known):
        warnings.warn(f"{len(matched)} of the model's {len(known)} classes are in the data, found by name{left_out}; the model may answer "
                      'with any of its classes', stacklevel=1)
    return dict(matched=matched, unknown=unknown)


def _open_strangers(model: TimmModel, data: str, split: str) -> ImageDataset:
    """Photographs of other things.

    Raises:
        UserError: The model is not calibrated, so it cannot tell them, or there are no such data.
    """
    from fgvc_zoo._errors import UserError
    from fgvc_zoo.calibration import calibration_of
    from fgvc_zoo.data import open_dataset
    from fgvc_zoo.loading import eval_transform_for

    if not calibration_of(model).images:
        raise UserError('--strangers needs a calibrated model: run fgvc-zoo calibrate first')
    return open_dataset(data, split, transform=eval_transform_for(model))


def _record(
        name: str, model: TimmModel, data: str, split: str, metrics: dict[str, Any], seconds: float, device: str) -> dict[str, Any]:
    """The result file. What is known of the model's training comes from its run folder or from the manifest."""
    from fgvc_zoo._files import without_folders
    from fgvc_zoo.checkpoints import load_manifest
    from fgvc_zoo.evaluation import method_and_backbone, result_record
    from fgvc_zoo.run_record import read_run_record

    folder = Path(name.removeprefix('local-dir:'))
    cfg = model.pretrained_cfg
    architecture = cfg['architecture']
    task = None
    facts: dict[str, Any] = dict(recipe={}, seed=0, epochs=0, weights=None)
    if run := read_run_record(folder, 'recipe', 'seed'):
        recipe, seed = run['config']['recipe'], run['config']['seed']
        task = recipe['task']
        facts = dict(recipe=recipe, seed=seed, epochs=run.get('epoch', recipe['epochs']), weights=folder / 'model.safetensors')
    for item in load_manifest():
        if name == item.name:
            task = item.recipe
            facts = dict(recipe=dict(name=item.recipe), seed=item.seed, epochs=item.epochs, weights=item.file)
    method, backbone = method_and_backbone(model, task)
    return result_record(
        model=name if not folder.is_dir() else architecture, method=method, backbone=backbone,
        data=data, split=split, input_size=cfg['input_size'][-1], metrics=metrics,
        command=without_folders(command_line()), seconds=seconds, device=device, **facts)


def _show(record: dict[str, Any], count: int) -> None:
    from rich.table import Table

    from fgvc_zoo._errors import plain
    from fgvc_zoo.evaluation import parts_of

    out, metrics = console(), record['metrics']
    table = Table(title=f'{count} images, percent', title_justify='left')
    for column in ('', 'top-1', 'top-5', 'mean per class'):
        table.add_column(column, justify='left' if not column else 'right')
    for part in parts_of(metrics) or ['']:
        values = metrics[part] if part else metrics
        table.add_row(part or 'the model', *(f'{values[name]:.2f}' for name in ('top1', 'top5', 'mean_per_class')))
    out.print(table, soft_wrap=False)
    if parts := parts_of(metrics):
        out.print('; '.join(f'{part}: {_PARTS[part]}' for part in parts if part in _PARTS))
    if 'localization' in metrics:
        overlap = metrics['localization']
        out.print(f"box IoU >= 0.5: {overlap['iou50']:.1f} % of the images; "
                  f"a central box of the same size: {overlap['central_box_iou50']:.1f} %")
    out.print(f"negative log-likelihood {metrics['nll']:.3f}, expected calibration error {metrics['ece']:.3f}")
    if 'calibrated' in metrics:
        after = metrics['calibrated']
        out.print(f"with temperature {after['temperature']:g}: negative log-likelihood {after['nll']:.3f}, expected calibration error "
                  f"{after['ece']:.3f}; {after['kept']:.1f} % seem to show one of the classes")
    if 'strangers' in record:
        others = record['strangers']
        out.print(f"{others['caught']:.1f} % of {others['images']} photographs of other things seem to show none")
    if metrics['confusions']:
        out.print('most frequent confusions: ' + '; '.join(
            f"{plain(pair['true'])} taken for {plain(pair['predicted'])} ({pair['count']})" for pair in metrics['confusions'][:5]))
