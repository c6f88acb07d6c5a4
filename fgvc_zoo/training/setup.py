"""What a run is made of before its first step, beside the model: the parameter groups, the schedule, the data."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from timm.models import group_parameters
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, StepLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.task import TrainingTask
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from fgvc_zoo._errors import UserError, first_line
from fgvc_zoo.data import BalancedSampler, EpochSampler, ImageDataset, outlast_signal, train_transform
from fgvc_zoo.data.transforms import Transform
from fgvc_zoo.loading import TimmModel, load_model
from fgvc_zoo.losses import balanced_weights
from fgvc_zoo.models import FineGrainedModel
from fgvc_zoo.recipes import Recipe
from fgvc_zoo.run_record import RUN_RECORD, read_run_record
from fgvc_zoo.tasks import MethodTask, create_task
from fgvc_zoo.training.checkpoint import CHECKPOINT, load_state


def parameter_groups(model: TimmModel, recipe: Recipe, task: nn.Module | None = None) -> list[dict[str, Any]]:
    """Optimizer groups: learning rates by depth, higher or lower ones for new layers, no weight decay on vectors.

    A backbone layer that is d groups from the last has `lr_scale` = layer_decay ** d; below `frozen_below` it is frozen
    (requires_grad is cleared). The classifier has `head_lr_scale`; a method's other layers, and the parameters that `task` holds
    beside the model, `new_lr_scale`.
    """
    depth = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    origin = {name: _origin(model, name) for name in depth}
    deepest = max(depth[name] for name in depth if origin[name] == 'backbone')
    exempt = model.no_weight_decay() if hasattr(model, 'no_weight_decay') else set()
    groups: dict[tuple[float, bool], dict[str, Any]] = {}

    def add(parameter: nn.Parameter, scale: float, decays: bool) -> None:
        group = groups.setdefault((scale, decays), dict(
            params=[], lr_scale=scale, weight_decay=recipe.weight_decay if decays else 0.0))
        group['params'].append(parameter)

    for name, parameter in model.named_parameters():
        scale = {'head': recipe.head_lr_scale, 'new': recipe.new_lr_scale}.get(origin[name])
        if scale is None:
            scale = recipe.layer_decay ** (deepest - depth[name])
            if recipe.frozen_below is not None and scale < recipe.frozen_below:
                parameter.requires_grad_(False)
                continue
        add(parameter, scale, parameter.ndim > 1 and name not in exempt)
    own = {id(parameter) for parameter in model.parameters()}
    for parameter in task.parameters() if task is not None else ():
        if id(parameter) not in own:
            add(parameter, recipe.new_lr_scale, parameter.ndim > 1)
    return list(groups.values())


def schedule(optimizer: Optimizer, recipe: Recipe, steps_per_epoch: int) -> Scheduler:
    """The learning rate as a function of the training step; `step_update(step)` sets it. Nothing of it needs to be saved."""
    lowest = recipe.min_lr * recipe.lr
    shared: dict[str, Any] = dict(
        warmup_t=int(recipe.warmup_epochs * steps_per_epoch), warmup_lr_init=lowest, warmup_prefix=False, t_in_epochs=False)
    if recipe.schedule == 'step':
        length = max(1, round(recipe.decay_epochs * steps_per_epoch))
        return StepLRScheduler(optimizer, decay_t=length, decay_rate=recipe.decay_rate, **shared)
    return CosineLRScheduler(optimizer, t_initial=recipe.epochs * steps_per_epoch, lr_min=lowest, **shared)


def trained_backbone(model: TimmModel) -> list[nn.Parameter]:
    """The parameters of the backbone that are trained; after `parameter_groups`, which freezes the others."""
    return [parameter for name, parameter in model.named_parameters() if parameter.requires_grad and _origin(model, name) == 'backbone']


def make_optimizer(model: TimmModel, recipe: Recipe, task: nn.Module) -> Optimizer:
    """The recipe's optimizer of `parameter_groups`.

    Raises:
        UserError: It cannot be made with the recipe's settings or with what is installed, or it needs second derivatives.
    """
    groups = parameter_groups(model, recipe, task)
    try:
        optimizer = create_optimizer_v2(
            groups, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum)
    except (ValueError, AssertionError, RuntimeError, ImportError) as error:
        why = first_line(error) or type(error).__name__
        other = '; for SGD without momentum take optimizer=momentum' if recipe.momentum == 0 else ''
        raise UserError(f"the optimizer '{recipe.optimizer}' cannot be made ({why}): choose another one{other}") from error
    if getattr(optimizer, 'is_second_order', False):
        raise UserError(f"the optimizer '{recipe.optimizer}' needs second derivatives, which training does not compute: choose another one")
    return optimizer


def check_unseen(trained: ImageDataset, measured: ImageDataset, keep_best: bool) -> None:
    """Warn of measuring photographs that are trained on.

    Args:
        trained: What is trained on.
        measured: What is measured while training.
        keep_best: Whether that chooses the epoch that is kept.

    Raises:
        UserError: They would choose the epoch.
    """
    shared = trained.shared(measured)
    if not shared:
        return
    text = f"{shared} of the {len(measured)} photographs of '{measured.split}' are in '{trained.split}', which is trained on"
    if keep_best:
        raise UserError(f'{text}, so they cannot choose the best epoch: give --train-split fit and --eval-split holdout')
    warnings.warn(f'{text}: the accuracy on them says nothing about others; give --train-split fit and --eval-split holdout', stacklevel=1)


def restore_task(folder: Path) -> TrainingTask:
    """The training task of a finished run, around the weights that the run kept.

    Raises:
        UserError: The folder holds no finished run.
    """
    run = read_run_record(folder, 'recipe')
    if run is None or not (folder / CHECKPOINT).is_file():
        raise UserError(f"'{folder}' holds no finished training run ({RUN_RECORD} and {CHECKPOINT})")
    recipe = run['config']['recipe']
    task = create_task(recipe['task'], load_model(str(folder)), smoothing=recipe['smoothing'], **recipe['task_args'])
    task.load_task_state(load_state(folder / CHECKPOINT)['task'])
    return task


def train_mode(task: nn.Module, model: TimmModel, recipe: Recipe) -> None:
    """Training mode, except for batch norms that keep their pretrained statistics.

    Those are the backbone's with `freeze_bn`, and any whose parameters are frozen.
    """
    task.train()
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            frozen = not module.weight.requires_grad
            if frozen or (recipe.freeze_bn and _origin(model, f'{name}.weight') == 'backbone'):
                module.eval()


def _origin(model: TimmModel, name: str) -> str:
    """Where a parameter belongs: 'head' (the classifier), 'new' (a method's own layers) or 'backbone'."""
    heads = model.pretrained_cfg.get('classifier') or ()
    heads = (heads,) if isinstance(heads, str) else heads
    if any(name.startswith(f'{head}.') for head in heads):
        return 'head'
    return 'new' if isinstance(model, FineGrainedModel) and not name.startswith(('backbone.', 'backbones.')) else 'backbone'


def augment(dataset: ImageDataset, recipe: Recipe, cfg: dict[str, Any]) -> None:
    """Give a training split the recipe's augmentation, at the input size of `cfg`, the model's pretrained_cfg, and smaller in the
    recipe's early epochs.

    Raises:
        UserError: The model is tied to one input size and the recipe has early epochs.
    """
    def at(size: int) -> Transform:
        return train_transform(
            size, cfg['mean'], cfg['std'], cfg['interpolation'], recipe.augmentation, cfg.get('crop_mode') or 'center')

    side = cfg['input_size'][-1]
    dataset.transform = at(side)
    if recipe.early_epochs > 0:
        if cfg.get('fixed_input_size'):
            raise UserError(f"'{cfg['architecture']}' takes one input size, so early_epochs must be 0, not {recipe.early_epochs}")
        dataset.early_epochs, dataset.early_transform = recipe.early_epochs, at(early_side(side, recipe.early_scale))


def early_side(side: int, scale: float) -> int:
    """Side in pixels of the images in the early epochs: about `side` * `scale`, a multiple of 32, which most backbones reduce by."""
    return min(side, max(32, round(side * scale / 32) * 32))


def train_sampler(dataset: ImageDataset, recipe: Recipe, seed: int, rank: int, world: int) -> EpochSampler:
    """The order of the training images: shuffled, or in balanced batches where the recipe sets `images_per_class`."""
    if recipe.images_per_class is None:
        return EpochSampler(len(dataset), batch_size=recipe.batch_size, seed=seed, rank=rank, world=world)
    return BalancedSampler(
        dataset.targets, recipe.batch_size, recipe.images_per_class, seed=seed, rank=rank, world=world,
        similar_classes=recipe.similar_classes)


def images_per_class(recipe: Recipe, targets: Sequence[int]) -> int | None:
    """The recipe's `images_per_class`, or more if its batch would need more classes than there are: the next divisor of the batch.

    Args:
        recipe: The recipe.
        targets: Class of each training image.
    """
    classes, wanted = len(set(targets)), recipe.images_per_class
    if wanted is None or recipe.batch_size % wanted:  # the sampler refuses the latter
        return wanted
    return next(count for count in range(wanted, recipe.batch_size + 1)
                if recipe.batch_size % count == 0 and recipe.batch_size // count <= classes)


def class_vectors(model: TimmModel) -> Tensor:
    """What tells how similar a model finds its classes: the classifier's weights of each, (K, D) float32 on the CPU.

    Raises:
        UserError: The classifier is not one layer.
    """
    weight = getattr(model.get_classifier(), 'weight', None)
    if not isinstance(weight, Tensor):
        raise UserError(f"the classifier of '{model.pretrained_cfg['architecture']}' is not one layer, so similar_classes must be 1")
    return weight.detach().float().cpu().flatten(1).clone()


def weigh_classes(task: TrainingTask, recipe: Recipe, dataset: ImageDataset) -> None:
    """Give the task the weights of the classes that the recipe's `class_weights` means.

    Raises:
        UserError: The task is none of `MethodTask`, so it may have no cross-entropy to weigh.
    """
    if not isinstance(task, MethodTask):
        raise UserError(f"the task '{recipe.task}' takes no weights for the classes: leave out class_weights")
    task.weigh_classes(balanced_weights(dataset.targets, dataset.num_classes))


def train_loader(dataset: ImageDataset, sampler: EpochSampler, batch_size: int, workers: int, pin: bool) -> DataLoader[Any]:
    """Batches of (images (B, 3, S, S) float32, targets (B,) int64)."""
    return DataLoader(
        dataset, batch_size, sampler=sampler, num_workers=workers, persistent_workers=workers > 0, pin_memory=pin, drop_last=True,
        worker_init_fn=outlast_signal)
