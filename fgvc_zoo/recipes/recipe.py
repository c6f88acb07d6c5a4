"""One recipe: its keys, their types and their ranges."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, fields
from math import inf
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from timm.optim import list_optimizers

from fgvc_zoo._errors import UserError, check_choice, check_range, nearest
from fgvc_zoo.data import Augmentation
from fgvc_zoo.data.transforms import CROP_MODES
from fgvc_zoo.recipes.values import number

SCHEDULES = ('cosine', 'step')
CLASS_WEIGHTS = ('balanced',)
# smallest and largest value, and which of them is not allowed itself
_RANGES: dict[str, tuple[Any, ...]] = dict(
    input_size=(16, 4096), crop_pct=(0, 1, (0,)), epochs=(1, 100_000), batch_size=(1, 100_000), accumulate=(1, 100_000),
    images_per_class=(1, 100_000),
    lr=(0, inf, (0,)), weight_decay=(0, inf), momentum=(0, 1, (1,)), layer_decay=(0, 1, (0,)), frozen_below=(0, 1), frozen_epochs=(0, inf),
    head_lr_scale=(0, inf, (0,)), new_lr_scale=(0, inf, (0,)), warmup_epochs=(0, inf), decay_epochs=(0, inf, (0,)), decay_rate=(0, 1, (0,)),
    min_lr=(0, 1), early_epochs=(0, inf), early_scale=(0, 1, (0,)), similar_classes=(1, 100_000), smoothing=(0, 1, (1,)),
    ema_decay=(0, 1, (0, 1)), clip_grad=(0, inf, (0,)))


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
        crop_mode: How a picture becomes square at test time: 'center' shows its middle, 'squash' changes its aspect ratio, 'border' pads it
            (see `eval_transform`); null for the model's own. With the last two, training images become square in the same way.
        epochs: Passes over the training split.
        batch_size: Images a step and process; the last short batch of an epoch is dropped.
        accumulate: A step's images go through the network in this many equal parts, whose gradients are added, so that a step needs less
            memory. Batch norms that train see the parts.
        images_per_class: Images of each class in a batch, for losses over pairs; null draws images whatever their class.
        similar_classes: With `images_per_class`, the classes of a batch are drawn in groups of this many that the classifier finds
            similar, so that pairs of different classes are hard; 1 draws every class alone.
        early_epochs: The first so many epochs see smaller images, which makes them faster.
        early_scale: Side of those images as a fraction of the input's, in (0, 1]; rounded to a multiple of 32 pixels.
        optimizer: timm optimizer name.
        lr: Peak learning rate of the backbone's last layers.
        weight_decay: Weight decay.
        momentum: Of SGD and its like; optimizers with betas, such as AdamW, keep their own.
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
        class_weights: 'balanced' lets every class count the same in the cross-entropies, however many images it has; null counts every
            image the same.
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
    accumulate: int = 1
    images_per_class: int | None = None
    similar_classes: int = 1
    early_epochs: int = 0
    early_scale: float = 0.7
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
    class_weights: str | None = None
    ema_decay: float | None = 0.99
    clip_grad: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        kinds = get_type_hints(Recipe)
        for item in fields(self):
            value = _typed(f'recipe {self.name}: {item.name}', getattr(self, item.name), kinds[item.name])
            object.__setattr__(self, item.name, value)  # the way of a frozen dataclass
            if item.name in _RANGES and value is not None:
                check_range(f'recipe {self.name}: {item.name}', value, *_RANGES[item.name])
        check_choice(f'recipe {self.name}: schedule', self.schedule, SCHEDULES)
        check_choice(f'recipe {self.name}: optimizer', self.optimizer.lower(), [str(name) for name in list_optimizers()])
        if self.batch_size % self.accumulate:
            raise UserError(f'recipe {self.name}: batch_size {self.batch_size} must be a multiple of accumulate {self.accumulate}')
        if self.accumulate > 1 and self.images_per_class is not None:
            raise UserError(
                f'recipe {self.name}: accumulate must be 1 with images_per_class, since a loss over pairs needs the whole batch')
        if self.class_weights is not None:
            check_choice(f'recipe {self.name}: class_weights', self.class_weights, CLASS_WEIGHTS)
        if self.similar_classes > 1 and self.images_per_class is None:
            raise UserError(f'recipe {self.name}: similar_classes needs images_per_class, which says how many images a class brings')
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


def _augmentation(value: Any) -> Augmentation:
    if isinstance(value, Augmentation):
        return value
    if not isinstance(value, dict):
        raise UserError(f'recipe key augmentation must be a mapping, not {value!r}')
    known = [item.name for item in fields(Augmentation)]
    for key in value:
        if key not in known:
            raise UserError(f"recipe key 'augmentation.{key}' is not known{nearest(str(key), known)}")
    return Augmentation(**{key: _entry(key, item) for key, item in value.items()})


def _entry(key: str, value: Any) -> Any:
    """A value of the augmentation: the numbers of a list as a tuple."""
    name = f'augmentation {key}'
    if isinstance(value, (list, tuple)):
        return tuple(_typed(name, item, float) for item in value)
    if key in ('scale', 'ratio'):
        raise UserError(f'{name} must be two numbers, not {value!r}')
    return _typed(name, value, {'style': str, 'auto_augment': str | None}.get(key, float))


def _typed(name: str, value: Any, kind: Any) -> Any:
    """A value as the type of its annotation. YAML reads '1e-3' as text, since YAML 1.1 wants a dot and a sign.

    Raises:
        UserError: It is of another type.
    """
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return None
    kind = next(item for item in kinds if item is not type(None))
    if kind is Augmentation:
        return _augmentation(value)
    if kind in (int, float):
        return number(name, value, kind)
    if kind is bool and isinstance(value, str) and value.lower() in ('true', 'false'):
        return value.lower() == 'true'
    plain_kind = get_origin(kind) or kind
    if not isinstance(value, plain_kind):
        wanted = {bool: 'true or false', str: 'a word', dict: 'a mapping'}[plain_kind]
        raise UserError(f'{name} must be {wanted}, not {value!r}')
    return value
