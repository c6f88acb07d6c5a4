"""Recipes: a method's hyper-parameters as data, with overrides per data set, and their typed reader.

A recipe file is YAML with two parts: `defaults`, and `data`, a mapping from the name of a data set (the last folder of its path, or its
layout) to what differs there. Every method's file extends `baseline.yaml`'s shared part, so that a comparison with the baseline
differs only where the method does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from fgvc_zoo._errors import UserError, check_range, first_line, nearest
from fgvc_zoo.data import Augmentation
from fgvc_zoo.models import METHODS, find_method

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """How one model is trained on one data set.

    Attributes:
        name: The method's name, or the recipe file's.
        task: Name of the training task (see `fgvc_zoo.tasks.create_task`).
        task_args: Arguments of that task.
        model_args: Arguments of `timm.create_model`.
        input_size: Side of the square input in pixels.
        crop_pct: At test time, central part of the resized image, in (0, 1].
        crop_mode: At test time, how a picture becomes square: 'center', 'squash' or 'border' (see `eval_transform`).
        epochs: Passes over the training split.
        batch_size: Images a step and process; the last short batch of an epoch is dropped.
        images_per_class: Images of each class in a batch, for losses over pairs; null draws images whatever their class.
        optimizer: timm optimizer name.
        lr: Peak learning rate of the backbone's last layers.
        weight_decay: Weight decay.
        momentum: Of SGD, or beta1 of Adam.
        layer_decay: Factor on the learning rate for each layer group away from the head, in (0, 1].
        freeze_bn: Keep the statistics of the backbone's batch norms as pretrained. Few images a class, seen through crops and
            drops, make poor statistics.
        frozen_below: Layers whose factor falls below this are not trained at all (null: all are).
        head_lr_scale: Factor on the learning rate of the classifier.
        new_lr_scale: Factor on that of the other layers that do not come from the backbone.
        warmup_epochs: Linear warm-up, in epochs.
        min_lr: Learning rate at the end, as a fraction of `lr`; the schedule between is a cosine, updated each step.
        smoothing: Label smoothing of every cross-entropy, in [0, 1).
        ema_decay: Decay per step of the averaged weights, which are the ones kept; null keeps the last weights.
        clip_grad: Largest gradient norm; null does not clip.
        augmentation: Of training images.
    """

    name: str
    task: str
    task_args: dict[str, Any] = field(default_factory=dict)
    model_args: dict[str, Any] = field(default_factory=dict)
    input_size: int = 224
    crop_pct: float = 0.875
    crop_mode: str = 'center'
    epochs: int = 30
    batch_size: int = 32
    images_per_class: int | None = None
    optimizer: str = 'sgd'
    lr: float = 0.01
    weight_decay: float = 1e-4
    momentum: float = 0.9
    layer_decay: float = 1.0
    frozen_below: float | None = None
    freeze_bn: bool = False
    head_lr_scale: float = 1.0
    new_lr_scale: float = 1.0
    warmup_epochs: float = 1.0
    min_lr: float = 0.01
    smoothing: float = 0.1
    ema_decay: float | None = 0.99
    clip_grad: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ('input_size', 'epochs', 'batch_size', 'lr'):
            check_range(f'recipe {self.name}: {name}', getattr(self, name), 0, exclude=(0,))
        for name, exclude in (('crop_pct', (0,)), ('layer_decay', (0,)), ('smoothing', (1,)), ('min_lr', ())):
            check_range(f'recipe {self.name}: {name}', getattr(self, name), 0, 1, exclude)

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some entries changed; 'augmentation.scale' and 'task_args.beta' reach one level down.

        Raises:
            UserError: A key does not exist, or a value is out of range.
        """
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for key, value in changes.items():
            head, _, tail = key.partition('.')
            if head not in values:
                raise UserError(f"recipe key '{key}' is not known{nearest(head, values)}")
            if not tail:
                values[head] = _augmentation(value) if head == 'augmentation' else value
            elif head == 'augmentation':
                values[head] = _augmentation({**dataclasses.asdict(values[head]), tail: value})
            elif isinstance(values[head], dict):
                values[head] = {**values[head], tail: value}
            else:
                raise UserError(f"recipe key '{head}' has no parts, so '{key}' is not known")
        return Recipe(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to result files and run folders."""
        return dataclasses.asdict(self)


def _augmentation(value: Augmentation | dict[str, Any]) -> Augmentation:
    if isinstance(value, Augmentation):
        return value
    known = [item.name for item in fields(Augmentation)]
    for key in value:
        if key not in known:
            raise UserError(f"recipe key 'augmentation.{key}' is not known{nearest(key, known)}")
    values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return Augmentation(**values)


def _recipes() -> dict[str, Path]:
    """The recipes of this package and of registered methods, by name."""
    own = {path.stem: path for path in FOLDER.glob('*.yaml')}
    return {**own, **{method.name: method.recipe for method in METHODS.values() if method.recipe}}


def recipe_names() -> list[str]:
    """Names of the recipes of this package and of registered methods."""
    return sorted(_recipes())


def recipe_for(model: str) -> str:
    """Name of the recipe that belongs to a model: its method's, or 'baseline' for a model without a method.

    Raises:
        UserError: Its method has no recipe.
    """
    method = find_method(model)
    if method is None:
        return 'baseline'
    if method.name not in _recipes():
        raise UserError(f"the method '{method.name}' has no recipe; give --recipe")
    return method.name


def load_recipe(name: str, data: str = '') -> Recipe:
    """Read a recipe.

    Args:
        name: One of `recipe_names`, or the path of a YAML file.
        data: 'layout:PATH' or PATH of the data, to apply that data set's overrides.

    Raises:
        UserError: There is no such recipe, it is not valid YAML, or it has an unknown key.
    """
    is_path = name.endswith(('.yaml', '.yml'))
    path = Path(name) if is_path else _recipes().get(name)
    if path is None or not path.is_file():
        raise UserError(f"there is no recipe '{name}'{nearest(name, recipe_names())} (there are {', '.join(recipe_names())}, "
                        "or give the path of a .yaml file)")
    document = _read(path)
    values = dict(document.get('defaults') or {})
    layout, _, folder = data.rpartition(':')
    overrides = document.get('data') or {}
    for key in (layout, Path(folder).name):  # the folder's own name is more specific than its layout
        values.update(overrides.get(key) or {})
    name = path.stem if is_path else name
    task = values.pop('task', name)
    return Recipe(name=name, task=task).replace(**values)


def _read(path: Path) -> dict[str, Any]:
    """One recipe file, laid over the file that it extends."""
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except yaml.YAMLError as error:
        raise UserError(f'{path} is not valid YAML: {first_line(error)}') from error
    if not isinstance(document, dict):
        raise UserError(f'{path} must be a mapping with the keys defaults and data')
    known = ('extends', 'defaults', 'data')
    for key in document:
        if key not in known:
            raise UserError(f"{path.name}: key '{key}' is not known{nearest(str(key), known)} (choose from {', '.join(known)})")
    if 'extends' not in document:
        return document
    base = _read(FOLDER / f"{document['extends']}.yaml")
    data = {
        key: {**(base.get('data') or {}).get(key, {}), **((document.get('data') or {}).get(key) or {})}
        for key in {*(base.get('data') or {}), *(document.get('data') or {})}}
    inherited = {key: value for key, value in base.get('defaults', {}).items() if key != 'task'}  # a method has its own
    return dict(defaults={**inherited, **(document.get('defaults') or {})}, data=data)
