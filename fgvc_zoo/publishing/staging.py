"""Write the folder that becomes a repository, and check it against its checksums and golden logits."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import yaml
from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from fgvc_zoo._errors import UserError, plain
from fgvc_zoo._files import atomic_write, half_precision, sha256, without_folders, write_json, write_text
from fgvc_zoo.checkpoints import golden_input
from fgvc_zoo.loading import TimmModel, is_trained, load_model
from fgvc_zoo.models import find_method
from fgvc_zoo.publishing.card import render_card
from fgvc_zoo.run_record import read_run_record
from fgvc_zoo.saving import portable_args

WEIGHTS, GOLDEN, CHECKSUMS, RESULT = 'model.safetensors', 'golden.safetensors', 'checksums.json', 'result.json'
COMPARABLE = ('backbone', 'data', 'split', 'input_size', 'epochs')  # fields that must match before two results are compared
LEADERBOARD = '.eval_results/accuracy.yaml'
UNFINISHED = '.staging'  # in a folder whose files are not complete yet
OPTIONAL = ('recipe.yaml', 'baseline.json', 'plain.json', 'attention.png', 'attention.jpg', LEADERBOARD)
_TOLERANCE = 2e-3  # of golden logits, between machines


def stage(
        source: Path,
        folder: Path,
        repo_id: str,
        license: str | None,
        about: str = '',
        result: Path | None = None,
        baseline: Path | None = None,
        picture: Path | None = None,
        benchmark: str | None = None,
        full: bool = False,
        plain: Path | None = None,
        base_model: str = '',
) -> Path:
    """Write the repository of a trained model into a folder. Every file is written atomically.

    Args:
        source: A run folder, or any folder with `config.json` (with `label_names`) and `model.safetensors`.
        folder: The folder to write; files of an earlier staging are replaced.
        repo_id: 'ORG/NAME', for the card.
        license: Licence of the weights: an SPDX identifier, or a sentence.
        about: The training data, in words.
        result: The model's result file; None means `result.json` in `source`.
        baseline: The result file of the baseline; None means `baseline.json` in `source`, if it exists.
        picture: PNG or JPEG of the attention; None means `attention.png` in `source`, if it exists.
        benchmark: 'ORG/DATASET' or 'ORG/DATASET:TASK' on the Hub, for its leaderboard (`.eval_results`).
        full: Keep single precision weights instead of rounding them to half precision.
        plain: The result file of plain fine-tuning in the papers' protocol; None means `plain.json` in `source`, if it exists.
        base_model: The repository on the Hub of the weights that training began with; '' takes it from the run's settings.

    Returns:
        `folder`.

    Raises:
        UserError: The licence, the labels or the result file are missing, the weights are not those that were measured, they overflow in
            half precision, or the folder cannot be written.
    """
    if not (license or '').strip():
        raise UserError("the weights need a licence: give --license, such as MIT, or in words what their training data's terms allow")
    if folder.exists() and any(folder.iterdir()) and not (is_staged(folder) or (folder / UNFINISHED).is_file()):
        raise UserError(f"'{folder}' holds files that would be overwritten: choose a folder of its own")
    model = load_model(str(source))
    config = _read_config(source / 'config.json', model.num_classes)
    record = _read_result(result or source / RESULT)
    _check_measured(record, model, source)
    opponents = {}
    for name, path in (('plain', plain or _if_file(source / 'plain.json')), ('baseline', baseline or _if_file(source / 'baseline.json'))):
        if path:
            opponents[name] = _read_result(path)
            _check_comparable(record, opponents[name])
    picture = picture or _if_file(source / 'attention.png')
    picture_name = f'attention{picture.suffix.lower()}' if picture else ''
    if picture and (picture_name not in OPTIONAL or not picture.is_file()):
        raise UserError(f"'{picture}' is not a picture for the card; give a .png or .jpg file")
    state, rounded = _read_weights(source / WEIGHTS, full)
    model.load_state_dict(state)
    logits = golden_logits(model)
    recipe_file = _if_file(source / 'recipe.yaml')
    recipe = record['recipe'] or (yaml.safe_load(recipe_file.read_text(encoding='utf-8')) if recipe_file else None)
    entry = _leaderboard_entry(record, benchmark) if benchmark else None

    def write_weights(part: Path) -> None:
        if rounded:
            save_file(state, part, metadata={'format': 'pt'})
        else:
            shutil.copyfile(source / WEIGHTS, part)

    writers: dict[str, Callable[[Path], Any]] = {
        WEIGHTS: lambda path: atomic_write(path, write_weights),
        'config.json': lambda path: write_json(path, config),
        'labels.txt': lambda path: write_text(path, '\n'.join(config['label_names']) + '\n'),
        RESULT: lambda path: write_json(path, record),
        GOLDEN: lambda path: atomic_write(path, lambda part: save_file({'logits': logits}, part, metadata=_golden_metadata(model))),
    }
    if recipe:
        writers['recipe.yaml'] = lambda path: write_text(path, yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
    if entry:
        writers[LEADERBOARD] = lambda path: write_text(path, yaml.safe_dump(entry, sort_keys=False))
    for name, opponent in opponents.items():
        writers[f'{name}.json'] = partial(write_json, value=opponent)
    if picture:
        writers[picture_name] = lambda path: atomic_write(path, lambda part: shutil.copyfile(picture, part))
    method = find_method(config['architecture'])
    base, trained_images = read_run(source, record['backbone'])
    card = render_card(
        repo_id, config, record, opponents, license or '', about, picture_name, rounded, sorted(writers),
        model.paper if record['method'] == getattr(model, 'method', None) else None, method.package if method else 'fgvc-zoo',
        base_model or base, trained_images)
    writers['README.md'] = lambda path: write_text(path, card)

    write_text(folder / UNFINISHED, '')
    for name, write in writers.items():
        write(folder / name)
    for name in set(OPTIONAL) - set(writers):
        (folder / name).unlink(missing_ok=True)
    sums = {name: sha256(folder / name) for name in sorted(writers)}
    write_json(folder / CHECKSUMS, sums)
    (folder / UNFINISHED).unlink()
    return folder


def read_run(source: Path, backbone: str) -> tuple[str, int]:
    """What the card says of a run's beginning.

    Args:
        source: The run folder.
        backbone: Name of the timm model, without a tag.

    Returns:
        The repository on the Hub of the weights that it began with, such as 'timm/resnet50.a1_in1k', or '' if its settings do not tell; the
        number of its training images, or 0.

    Raises:
        UserError: Its record is damaged.
    """
    run = read_run_record(source, 'model', 'pretrained_backbone')
    if run is None:
        return '', 0
    model, weights = str(run['config']['model']), run['config']['pretrained_backbone']
    if run.get('start_license'):
        warnings.warn(f"training began with the weights of '{model}', whose licence is '{run['start_license']}': the licence that you give "
                      'must keep to its terms', stacklevel=1)
    if model.startswith('hf-hub:'):
        return model.removeprefix('hf-hub:').partition('@')[0], run['images']
    tagged = run['config'].get('recipe', {}).get('model_args', {}).get('backbone', model)  # the tag says which weights
    start = tagged if tagged.partition('.')[0] == backbone else backbone
    return hub_id(start) if weights is True and not is_trained(model) else '', run['images']


def hub_id(backbone: str) -> str:
    """The repository on the Hub of a timm model's weights; '' if it has none."""
    try:
        cfg = timm.get_pretrained_cfg(backbone, allow_unregistered=True)
    except RuntimeError:  # this version of timm does not know the tag
        return ''
    return (cfg.hf_hub_id or '') if cfg else ''


def is_staged(folder: Path) -> bool:
    """Whether `stage` wrote the folder."""
    return (folder / CHECKSUMS).is_file()


def check(folder: Path) -> float:
    """Check a staged or downloaded folder against its checksums and its golden logits.

    Returns:
        The largest difference between golden logits.

    Raises:
        UserError: Files are missing or damaged (the message names all of them), or the golden logits differ.
    """
    if not is_staged(folder):
        raise UserError(f"'{folder}' has no {CHECKSUMS}; it was not made by fgvc-zoo publish, so there is nothing to compare it with")
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding='utf-8'))
        missing = [name for name in sums if not (folder / name).is_file()]
        damaged = [name for name, value in sums.items() if name not in missing and sha256(folder / name) != value]
    except (ValueError, AttributeError) as error:
        raise UserError(f"'{folder / CHECKSUMS}' is damaged ({error})") from error
    if missing or damaged:
        parts = [f"{', '.join(names)} {'are' if len(names) > 1 else 'is'} {what}" for names, what in (
            (missing, 'missing'), (damaged, f'not what {CHECKSUMS} says')) if names]
        raise UserError(f"'{folder}' is damaged: {'; '.join(parts)}; fetch or stage it again")
    golden = load_file(folder / GOLDEN)['logits']
    logits = golden_logits(load_model(str(folder)))
    gap = (logits - golden).abs().max().item() if logits.shape == golden.shape else float('inf')
    if gap > _TOLERANCE * max(1.0, golden.abs().max().item()):
        raise UserError(f"the model in '{folder}' does not answer as it did when it was staged: its golden logits differ by {gap:.2g}; the "
                        "versions of torch, timm and fgvc-zoo may be to blame")
    return gap


def golden_logits(model: TimmModel) -> Tensor:
    """Logits of a model on the CPU for the image of `golden_input`: (1, num_classes) float32."""
    chans, size, _ = model.pretrained_cfg['input_size']
    model.eval()
    with torch.inference_mode():
        return model(golden_input(size)[:, :1].expand(1, chans, size, size) if chans != 3 else golden_input(size)).float().clone()


def _golden_metadata(model: TimmModel) -> dict[str, str]:
    chans, size, _ = model.pretrained_cfg['input_size']
    # a single key, because safetensors writes several in random order and the file would not be reproducible
    return dict(input=f'fgvc_zoo.checkpoints.golden_input({size}), {chans} channels; channel c, row y, column x: '
                      'sin((9 + 4c) * y / (size - 1)) * cos((5 + 3c) * x / (size - 1)), float32, not normalised')


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_result(path: Path) -> dict[str, Any]:
    """Read a result file and check that it has all the fields that a card needs."""
    if not path.is_file():
        raise UserError(f"there is no result file '{path}': measure the model first (fgvc-zoo evaluate RUN --data ... --json {path}), or "
                        "give --result FILE")
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        for key in ('top1', 'top5', 'mean_per_class'):
            float(record['metrics'][key])
        if missing := {'model', 'method', 'data', 'split', 'seed', 'input_size', 'epochs', 'recipe'} - record.keys():
            raise KeyError(', '.join(sorted(missing)))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' is not a result file of `fgvc-zoo evaluate --json` ({error!r})") from error
    return {**record, 'command': without_folders(str(record.get('command', '')))}


def _check_measured(record: dict[str, Any], model: TimmModel, source: Path) -> None:
    """Check by golden logits, or else by checksum, that these are the weights that were measured."""
    if golden := record.get('golden'):
        logits = golden_logits(model)[0, :len(golden)]
        gap = (logits - torch.tensor(golden)).abs().max().item() if len(logits) == len(golden) else float('inf')
        if gap > _TOLERANCE * max(1.0, max(map(abs, golden))):
            raise UserError(f"the weights in '{source}' are not those that were measured: their golden logits differ by {gap:.2g} from the "
                            "result file's; measure them again with fgvc-zoo evaluate")
    elif record.get('weights_sha256') != sha256(source / WEIGHTS):
        raise UserError(f"the weights in '{source}' are not those that were measured: the result file has neither their sha256 nor golden "
                        "logits; measure them again with fgvc-zoo evaluate")


def _leaderboard_entry(record: dict[str, Any], benchmark: str) -> list[dict[str, Any]]:
    """The content of `.eval_results`: top-1 accuracy in percent on a dataset of the Hub."""
    dataset, _, task = benchmark.partition(':')
    if dataset.count('/') != 1 or not all(dataset.split('/')):
        raise UserError(f"'{benchmark}' is not a dataset of the Hub; write ORG/DATASET or ORG/DATASET:TASK")
    notes = f"top-1 accuracy in percent on the {record['split']} split, input {record['input_size']} px, seed {record['seed']}"
    return eval_result_entries_to_yaml([EvalResultEntry(dataset, task or 'default', round(record['metrics']['top1'], 3), notes=notes)])


def _check_comparable(record: dict[str, Any], baseline: dict[str, Any]) -> None:
    different = [key for key in COMPARABLE if record.get(key) != baseline.get(key)]
    if different:
        key = different[0]
        raise UserError(f"the baseline's result is for another {key.replace('_', ' ')} ({baseline.get(key)}, not {record.get(key)}), so it "
                        "is no comparison; give the baseline's result for the same one")


def _read_config(path: Path, num_classes: int) -> dict[str, Any]:
    """A run's config.json for timm and transformers. `dtype` makes transformers compute in single precision with fp16 weights."""
    config = json.loads(path.read_text(encoding='utf-8'))
    labels = config.get('label_names') or []
    if len(labels) != num_classes:
        raise UserError(f"'{path}' names {len(labels)} classes (label_names), but the model has {num_classes}; write all names in the "
                        "order of the logits")
    if odd := [label for label in labels if plain(label) != label]:
        raise UserError(f"the class name '{plain(odd[0])}' in '{path}' has a line break or another control character, which labels.txt "
                        'cannot hold; rename the class')
    return {**config, 'model_args': portable_args(config.get('model_args', {})), 'dtype': 'float32'}


def _read_weights(path: Path, full: bool) -> tuple[dict[str, Tensor], bool]:
    """The weights to publish, and whether they were rounded."""
    state = load_file(path)
    if full:
        return state, False
    rounded = any(value.dtype == torch.float32 for value in state.values())
    state = half_precision(state)
    if any(not value.isfinite().all() for value in state.values()):
        raise UserError(f"half precision cannot hold the weights in '{path}'; give --full")
    return state, rounded
