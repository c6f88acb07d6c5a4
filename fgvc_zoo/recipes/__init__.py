"""Recipes: a method's hyper-parameters as data, and their typed reader.

A recipe file is YAML with up to four keys:

    extends     the recipe that this file is laid over, such as `baseline`
    defaults    what is used
    small       laid over the defaults where there are fewer than `SMALL` training photographs
    paper       laid over the defaults by the name NAME-paper: the published protocol

Every method's file extends `baseline.yaml`, part by part, so that a comparison with the baseline differs only where the method does: its
small recipe is the baseline's small recipe, then its own defaults, then its own small part.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from fgvc_zoo._errors import UserError, check_choice, check_range, first_line, nearest
from fgvc_zoo.data import Augmentation
from fgvc_zoo.data.transforms import CROP_MODES
from fgvc_zoo.models import METHODS, find_method

FOLDER = Path(__file__).parent
SMALL = 2000  # training photographs; with fewer, a recipe's `small` part counts
PAPER = '-paper'  # the end of the name that asks for a recipe's `paper` part
SCHEDULES = ('cosine', 'step')
_KEYS = ('extends', 'defaults', 'small', 'paper')


@dataclass(frozen=True)
class Recipe:
    """How one model is trained on one data set.

    Attributes:
        name: The method's name, or the recipe file's, with '-paper' for its `paper` part.
        task: Name of the training task (see `fgvc_zoo.tasks.create_task`).
        task_args: Arguments of that task.
        model_args: Arguments of `timm.create_model`.
        input_size: Side of the square input in pixels; null for the model's own (its pretrained_cfg).
        crop_pct: At test time, central part of the resized image, in (0, 1]; null for the model's own.
        crop_mode: At test time, how a picture becomes square: 'center', 'squash' or 'border' (see `eval_transform`); null for the
            model's own.
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
        frozen_epochs: The backbone's weights are not updated for the first so many epochs; its batch norms' statistics are,
            unless `freeze_bn` keeps them.
        head_lr_scale: Factor on the learning rate of the classifier.
        new_lr_scale: Factor on that of the other layers that do not come from the backbone.
        warmup_epochs: Linear warm-up from `min_lr`, in epochs; the schedule runs on meanwhile.
        schedule: How the learning rate falls, updated each step: 'cosine' to `min_lr` at the end, or in a 'step' every `decay_epochs`.
        decay_epochs: Length of a step of the 'step' schedule, in epochs; rounded to whole training steps.
        decay_rate: Factor on the learning rate after each of them, in (0, 1].
        min_lr: Learning rate at the end of a cosine, as a fraction of `lr`.
        smoothing: Label smoothing of every cross-entropy, in [0, 1).
        ema_decay: Decay per step of the averaged weights, which are the ones kept; null keeps the last weights.
        clip_grad: Largest gradient norm; null does not clip.
        augmentation: Of training images.
    """

    name: str
    task: str
    task_args: dict[str, Any] = field(default_factory=dict)
    model_args: dict[str, Any] = field(default_factory=dict)
    input_size: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    epochs: int = 30
    batch_size: int = 32
    images_per_class: int | None = None
    optimizer: str = 'sgd'
    lr: float = 0.01
    weight_decay: float = 1e-4
    momentum: float = 0.9
    layer_decay: float = 1.0
    frozen_below: float | None = None
    frozen_epochs: int = 0
    freeze_bn: bool = False
    head_lr_scale: float = 1.0
    new_lr_scale: float = 1.0
    warmup_epochs: float = 1.0
    schedule: str = 'cosine'
    decay_epochs: float = 1.0
    decay_rate: float = 0.1
    min_lr: float = 0.01
    smoothing: float = 0.1
    ema_decay: float | None = 0.99
    clip_grad: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ('input_size', 'epochs', 'batch_size', 'lr', 'decay_epochs'):
            if name != 'input_size' or self.input_size is not None:
                check_range(f'recipe {self.name}: {name}', getattr(self, name), 0, exclude=(0,))
        check_range(f'recipe {self.name}: frozen_epochs', self.frozen_epochs, 0)
        for name, exclude in (
                ('crop_pct', (0,)), ('layer_decay', (0,)), ('decay_rate', (0,)), ('smoothing', (1,)), ('min_lr', ())):
            if name != 'crop_pct' or self.crop_pct is not None:
                check_range(f'recipe {self.name}: {name}', getattr(self, name), 0, 1, exclude)
        check_choice(f'recipe {self.name}: schedule', self.schedule, SCHEDULES)
        if self.crop_mode is not None:
            check_choice(f'recipe {self.name}: crop_mode', self.crop_mode, CROP_MODES)

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

    def for_model(self, cfg: dict[str, Any]) -> Recipe:
        """A copy with the model's own input size and crop where this recipe leaves them open.

        Args:
            cfg: The model's pretrained_cfg.
        """
        own = dict(input_size=cfg['input_size'][-1], crop_pct=cfg['crop_pct'], crop_mode=cfg.get('crop_mode') or 'center')
        return self.replace(**{key: value for key, value in own.items() if getattr(self, key) is None})

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


def load_recipe(name: str, images: int | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: One of `recipe_names`, or the path of a YAML file; with '-paper' behind it for its `paper` part.
        images: Number of training photographs: with fewer than `SMALL`, the recipe's `small` part counts. None leaves it out, and so
            does a recipe's `paper` part.

    Raises:
        UserError: There is no such recipe, it is not valid YAML, or it has an unknown key.
    """
    path, part, bare = _find(name), '', name
    if path is None and name.endswith(PAPER):
        bare = name.removesuffix(PAPER)
        path, part = _find(bare), 'paper'
    if path is None:
        raise UserError(f"there is no recipe '{name}'{nearest(name, recipe_names())} (there are {', '.join(recipe_names())}, "
                        f"each also with {PAPER} behind it, or give the path of a .yaml file)")
    if part and not _read(path).get(part):
        raise UserError(f"the recipe '{bare}' has no `paper` part")
    if not part and images is not None and images < SMALL:
        part = 'small'
    method = bare if bare in _recipes() else path.stem
    recipe = Recipe(name=method + PAPER if part == 'paper' else method, task=method)
    for layer in _layers(path, part):
        recipe = recipe.replace(**layer)
    return recipe


def _find(name: str) -> Path | None:
    """The file of a recipe that is called `name`, or has that path."""
    path = Path(name) if name.endswith(('.yaml', '.yml')) else _recipes().get(name)
    return path if path is not None and path.is_file() else None


def _layers(path: Path, part: str) -> list[dict[str, Any]]:
    """What one recipe file says, later entries over earlier ones: the layers of the file that it extends, its defaults, its `part`."""
    document = _read(path)
    layers = []
    if 'extends' in document:
        name = str(document['extends'])
        base = _recipes().get(name)
        if base is None or base == path:
            raise UserError(f"{path.name}: there is no recipe '{name}' to extend{nearest(name, recipe_names())}")
        # not its task: a method has its own
        layers = [{key: value for key, value in layer.items() if key != 'task'} for layer in _layers(base, part)]
    return [*layers, document.get('defaults') or {}, document.get(part) or {}]


def _read(path: Path) -> dict[str, Any]:
    """One recipe file."""
    try:
        document = yaml.safe_load(path.read_text(encoding='utf-8')) or {}
    except yaml.YAMLError as error:
        raise UserError(f'{path} is not valid YAML: {first_line(error)}') from error
    if not isinstance(document, dict):
        raise UserError(f'{path} must be a mapping with the keys {", ".join(_KEYS)}')
    for key, value in document.items():
        if key == 'data':
            raise UserError(f"{path.name}: the key 'data' is gone, since a recipe depends on how many photographs there are: use 'small'")
        if key not in _KEYS:
            raise UserError(f"{path.name}: key '{key}' is not known{nearest(str(key), _KEYS)} (choose from {', '.join(_KEYS)})")
        if key != 'extends' and value is not None and not isinstance(value, dict):
            raise UserError(f"{path.name}: '{key}' must be a mapping of recipe keys, not {value!r}")
    return document
