"""`fgvc-zoo train`: settings from a recipe, changed by options."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from fgvc_zoo_cli._common import Data, Device, Workers, command_line, is_main_process
from fgvc_zoo_cli._terminal import console
from fgvc_zoo_cli.evaluate import evaluate

if TYPE_CHECKING:
    from fgvc_zoo.training import Preview


def train(
        model: Annotated[str, typer.Option(
            help='A registered name, any timm model for the baseline, or trained weights: NAME.TAG, a run folder, hf-hub:ORG/NAME.')],
        data: Data,
        output: Annotated[Path, typer.Option(help='The run folder.')],
        recipe: Annotated[Optional[str], typer.Option(
            help="A recipe's name, NAME-paper for the published protocol, or a YAML file; the model's method's if not given.")] = None,
        changes: Annotated[Optional[list[str]], typer.Option('--set', help='key=value of the recipe; may be repeated.')] = None,
        epochs: Annotated[Optional[int], typer.Option(
            help="The recipe's if not given: 8, or 16 with fewer than 2,000 photographs.")] = None,
        batch_size: Annotated[Optional[int], typer.Option(help='Images per step and process.')] = None,
        lr: Annotated[Optional[float], typer.Option(help='Peak learning rate.')] = None,
        input_size: Annotated[Optional[int], typer.Option(help="Side of the input in pixels; the model's own if not given.")] = None,
        seed: Annotated[int, typer.Option(help='Seed of all random numbers.')] = 0,
        train_split: Annotated[str, typer.Option(help="'fit' is 'train' without a held-out fifth.")] = 'train',
        eval_split: Annotated[Optional[str], typer.Option(help="Split to measure while training; 'holdout' to choose settings.")] = None,
        eval_every: Annotated[int, typer.Option(min=1, help='Epochs between measurements.')] = 1,
        save_every: Annotated[int, typer.Option(min=0, help='Epochs between saved models; the last one always is.')] = 0,
        keep_best: Annotated[bool, typer.Option('--keep-best', help='Keep the best epoch on --eval-split in OUTPUT/best too.')] = False,
        pretrained_backbone: Annotated[str, typer.Option(help='true, false, or a .safetensors file with timm keys.')] = 'true',
        workers: Workers = 2,
        cache: Annotated[Optional[bool], typer.Option(help='Keep decoded images in memory; if they fit when not given.')] = None,
        resume: Annotated[bool, typer.Option('--resume', help="Continue from the run folder's checkpoint.")] = False,
        accept_changes: Annotated[bool, typer.Option(
            '--accept-changes', help='Continue although images of the classes, or --amp, are others than before.')] = False,
        amp: Annotated[Optional[str], typer.Option(help='bf16 or fp16.')] = None,
        device: Device = None,
        dry_run: Annotated[bool, typer.Option(
            '--dry-run', help='Take a few steps, show settings, learning rates, time and memory, and write nothing.')] = False,
        profile: Annotated[bool, typer.Option('--profile', help='As --dry-run, and show where the time of a step goes.')] = False,
) -> None:
    """Train a model on your own photographs or on a benchmark."""
    from fgvc_zoo._errors import UserError, plain
    from fgvc_zoo.data import open_dataset
    from fgvc_zoo.loading import architecture_of, is_trained
    from fgvc_zoo.recipes import load_recipe, recipe_for

    try:
        from fgvc_zoo import training
    except ModuleNotFoundError as error:
        raise UserError(f"training needs '{error.name}': pip install 'fgvc-zoo[train]'") from error
    shortcuts = dict(epochs=epochs, batch_size=batch_size, lr=lr, input_size=input_size)
    shortcuts = {key: value for key, value in shortcuts.items() if value is not None}
    parsed = parse_changes(changes or [])
    if model == 'baseline':
        raise UserError("'baseline' is a recipe, not a model: it trains any plain timm model, such as --model tf_efficientnet_lite0")
    if twice := sorted(shortcuts.keys() & parsed.keys()):
        raise UserError(f"'{twice[0]}' is given twice, as --{twice[0].replace('_', '-')} and with --set: leave out one of them")
    if is_trained(model) and (own := [key for key in parsed if key.startswith('model_args')]):
        raise UserError(f"'{model}' has trained weights, which bring their own model_args: leave out '{own[0]}', or train the "
                        f"architecture '{architecture_of(model)}'")
    dataset = open_dataset(data, train_split)
    settings = load_recipe(recipe or recipe_for(architecture_of(model)), len(dataset)).replace(**shortcuts, **parsed)
    if is_main_process():
        console(stderr=True).print(plain(dataset.describe()))
    config = training.TrainConfig(
        model=model, data=data, output=str(output), recipe=settings, seed=seed, train_split=train_split, eval_split=eval_split,
        eval_every=eval_every, save_every=save_every, keep_best=keep_best, pretrained_backbone=_weights(pretrained_backbone),
        workers=workers, cache=cache, resume=resume, accept_changes=accept_changes, device=device, amp=amp, command=command_line())
    if dry_run or profile:
        _show_preview(training.preview(config, operators=profile), profile)
        return
    del dataset  # the training reads its own; a large one needs gigabytes
    folder = training.train(config)
    if not is_main_process():
        return
    _conclude(folder, data, train_split, eval_split, keep_best, workers, device)


def _conclude(
        folder: Path, data: str, train_split: str, eval_split: str | None, keep_best: bool, workers: int, device: str | None) -> None:
    """Say where the model is and what to do with it. Photographs in `test/` of an own folder are measured, once and at the end."""
    from fgvc_zoo.data import ImageFolder, open_dataset

    out = console(stderr=True)
    dataset = open_dataset(data, train_split)
    place = shlex.quote(str(folder))
    out.print(f'the model is in {folder}\n  fgvc-zoo predict --model {place} PHOTO...')
    if 'test' not in dataset.official_splits():
        if eval_split is None:
            out.print('it is not measured: put photographs into test/CLASS beside train/CLASS, or hold some back with '
                      '--train-split fit --eval-split holdout')
    elif keep_best and eval_split and open_dataset(data, 'test').shared(open_dataset(data, eval_split)):
        out.print(f"'test' is not measured: it has photographs of '{eval_split}', which chose the best epoch")
    elif isinstance(dataset, ImageFolder) and eval_split != 'test':
        out.print("measuring the split 'test'")
        evaluate(str(folder), data, 'test', workers=workers, json_file=folder / 'result.json', device=device)
        out.print(f"the result is in {folder / 'result.json'}")
    else:
        out.print(f'  fgvc-zoo evaluate {place} --data {shlex.quote(data)}')


def _show_preview(found: Preview, profile: bool) -> None:
    import yaml
    from rich.table import Table

    from fgvc_zoo._progress import time_left

    if not is_main_process():
        return
    out = console()
    out.print(yaml.safe_dump(json.loads(json.dumps(found.recipe)), sort_keys=False, allow_unicode=True).rstrip())
    table = Table('parameters', 'learning rate', 'weight decay', title='trained', title_justify='left')
    for count, rate, decay in sorted(found.groups, key=lambda group: group[1]):
        table.add_row(f'{count:,}', f'{rate:.2e}', f'{decay:g}')
    out.print(table, soft_wrap=False)
    steps = found.recipe['epochs'] * found.steps_per_epoch
    out.print(f'not trained: {found.frozen:,} parameters')
    out.print(f"{found.recipe['epochs']} epochs of {found.steps_per_epoch} steps with {found.images_per_step} images: {steps:,} steps")
    out.print(f'{found.seconds_per_step:.2f} s a step ({found.images_per_step / found.seconds_per_step:.0f} images/s), about '
              f"{time_left(found.seconds)} in all without measuring; {1e3 * found.parts['loading']:.0f} ms of a step wait for images, "
              'less once decoded images are kept in memory')
    if found.memory:
        out.print(f'largest memory: {found.memory / 1e9:.1f} GB, and that of the decoded images')
    if profile:
        whole = sum(found.parts.values())
        parts = Table('part of a step', 'ms', 'share', title='where the time goes', title_justify='left')
        for name, seconds in found.parts.items():
            parts.add_row(name, f'{1e3 * seconds:.0f}', f'{100 * seconds / whole:.0f} %')
        out.print(parts, soft_wrap=False)
        out.print(found.operators.rstrip())


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """Parse 'key=value' strings. Values are YAML: '0.1' is a number, '[0.2, 1]' a list, 'null' None.

    Raises:
        UserError: One has no '=' or its value is not YAML.
    """
    import yaml

    from fgvc_zoo._errors import UserError

    parsed = {}
    for change in changes:
        key, equals, value = change.partition('=')
        if not equals:
            raise UserError(f"--set takes key=value, not '{change}'")
        try:
            parsed[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {key}: '{value}' is not a value") from error
    return parsed


def _weights(text: str) -> bool | str:
    return {'true': True, 'false': False}.get(text.lower(), text)
