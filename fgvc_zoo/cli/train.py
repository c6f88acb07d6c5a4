"""`fgvc-zoo train`: settings from a recipe, the command line on top."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from fgvc_zoo._errors import UserError
from fgvc_zoo.recipes import load_recipe, recipe_for


def run(
        *, model: str, data: str, output: Path, recipe: str | None, changes: list[str], shortcuts: dict[str, Any], seed: int,
        train_split: str, eval_split: str | None, eval_every: int, pretrained_backbone: str, workers: int, cache: bool | None,
        resume: bool, amp: str | None, compile: bool, device: str | None) -> Path:
    """Train and say what to do with the result."""
    try:
        from fgvc_zoo.training import TrainConfig, train
    except ModuleNotFoundError as error:
        raise UserError(f"training needs '{error.name}': pip install 'fgvc-zoo[train]'") from error
    chosen = load_recipe(recipe or recipe_for(model), data).replace(
        **{**{key: value for key, value in shortcuts.items() if value is not None}, **parse_changes(changes)})
    folder = train(TrainConfig(
        model=model, data=data, output=str(output), recipe=chosen, seed=seed, train_split=train_split, eval_split=eval_split,
        eval_every=eval_every, pretrained_backbone=_weights(pretrained_backbone), workers=workers, cache=cache, resume=resume,
        device=device, amp=amp, compile=compile, command=' '.join(['fgvc-zoo', *sys.argv[1:]])))
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f'the model is in {folder}\n'
        f'  fgvc-zoo evaluate {folder} --data {data}\n'
        f'  fgvc-zoo predict --model {folder} PHOTO...')
    return folder


def parse_changes(changes: list[str]) -> dict[str, Any]:
    """'key=value' strings, values as YAML: '0.1' is a number, '[0.2, 1]' a list, 'null' None.

    Raises:
        UserError: One has no '=' or its value is not YAML.
    """
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
