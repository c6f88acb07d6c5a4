"""The training loop: one task, one recipe, one data set, on Hugging Face Accelerate.

Every random draw is a function of the seed and of where the run stands: the order of the images of (seed, epoch), an image's
augmentation of (seed, epoch, index, repeat), a step's dropout and attention sampling of (seed, step, process). So a run that is killed and
resumed ends with the same weights as an uninterrupted one: on a CPU bit for bit, on a GPU up to the order in which its kernels add.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import sys
import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from rich.progress import Progress, TaskID
from torch import Tensor

from fgvc_zoo._device import enough_memory, peak_memory
from fgvc_zoo._errors import UserError
from fgvc_zoo._progress import ProgressLog, progress_bar, time_left
from fgvc_zoo.calibration import TOO_FEW, fit_calibration
from fgvc_zoo.data import TUNING_SPLITS, ImageDataset, ImageError, check_outside, fits_in_memory, open_dataset
from fgvc_zoo.data.seeding import derive_seed
from fgvc_zoo.evaluation import method_and_backbone, parts_of, summarize
from fgvc_zoo.recipes.values import like_default
from fgvc_zoo.tasks import MethodTask, task_settings
from fgvc_zoo.training.advice import shape_advice
from fgvc_zoo.training.checkpoint import CHECKPOINT
from fgvc_zoo.training.config import TrainConfig
from fgvc_zoo.training.identity import run_folder
from fgvc_zoo.training.measure import measure
from fgvc_zoo.training.meters import Meters, warn_at_chance
from fgvc_zoo.training.setup import class_vectors, train_mode
from fgvc_zoo.training.state import BEST, RunState

CHECKPOINT_SECONDS = 300
_ESTIMATED_AFTER = 5  # steps; the first ones are slower


def train(config: TrainConfig) -> Path:
    """Train, or go on training.

    The run folder holds `config.json` and `model.safetensors` (a timm model: `timm.create_model('local-dir:FOLDER', pretrained=True)`),
    `run.json` (settings, versions), `history.csv`, `tensorboard/`, `curves.png` and the resumable checkpoint. The model is there after
    every `save_every` epochs, when the run is stopped, and at its end; with `keep_best` the best one so far is in `best/`. A run that
    trains on 'fit' and measures 'holdout' calibrates its model on 'holdout' (see `fgvc_zoo.calibration`).

    Returns:
        The run folder.

    Raises:
        UserError: The folder holds another run, the data or the model cannot be used, the loss is no longer finite, or the disk is full.
    """
    config = with_task_settings(config)
    folder = Path(config.output)
    check_outside(open_dataset(config.data, config.train_split), folder)
    with run_folder(folder, config.resume):
        try:
            with enough_memory('a smaller batch_size, or accumulate=2'):
                return Run(config, folder).run()
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or 'gloo' in str(error)):  # gloo's errors have no class of their own
                raise
            raise UserError('another process of this run has ended: see its message, then go on with --resume') from error
        except ValueError as error:
            if 'more than 1 value per channel' not in str(error):
                raise
            raise UserError('a batch norm that trains needs more than one value a channel: take a larger batch_size or input_size, or '
                            'freeze_bn=true') from error


def with_task_settings(config: TrainConfig) -> TrainConfig:
    """A copy whose recipe has all settings of the task: a run's record must not change when a default does.

    Raises:
        UserError: One is of another type than its default.
    """
    recipe, settings = config.recipe, task_settings(config.recipe.task)
    if 'smoothing' in recipe.task_args:
        raise UserError('the label smoothing is a key of the recipe: write smoothing instead of task_args.smoothing')
    given = {key: like_default(f'recipe {recipe.name}: task_args.{key}', value, settings[key]) if key in settings else value
             for key, value in recipe.task_args.items()}  # `create_task` names those that do not exist
    return replace(config, recipe=recipe.replace(task_args={**settings, **given}))


class Run(RunState):
    """The loop over epochs and steps."""

    def run(self) -> Path:
        main = self.accelerator.is_main_process
        if main:
            self._describe(self.folder)
        terminal = self.config.progress and sys.stdout.isatty()
        self.log = ProgressLog(main and not terminal)
        self._estimated = not main
        self._timed, self._timed_seconds = 0, 0.0  # steps from which the time of the others is estimated
        if main and self.config.progress:
            for line in filter(None, (self._introduction(), shape_advice(self.dataset, self.model.pretrained_cfg))):
                print(line, file=sys.stderr, flush=True)
        with progress_bar(terminal and main, details=True) as bar:
            self._cache(bar)
            total = self.recipe.epochs * self.steps_per_epoch
            bar_task = bar.add_task('training', total=total, completed=self.epoch * self.steps_per_epoch + self.step_in_epoch, details='')
            with self.stop:
                while self.epoch < self.recipe.epochs:
                    self._train_epoch(bar, bar_task)
                    self._finish_epoch()
        if main:
            self._export(self.folder)
            if lost := self.dataset.unreadable:
                warnings.warn(f'{len(lost)} images could not be read, and others of their classes took their places: '
                              f"{', '.join(map(str, lost[:10]))}{' ...' if len(lost) > 10 else ''}", stacklevel=1)
        self.accelerator.end_training()
        return self.folder

    def _cache(self, bar: Progress) -> None:
        """Decode the images once, if they fit: decoding is the bottleneck on small machines."""
        size = self.decoded_side
        # forked workers share the images, others get copies; so do the other processes of this machine
        copies = 1 if multiprocessing.get_start_method() == 'fork' else 1 + self.config.workers
        copies *= int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
        for dataset in filter(None, (self.dataset, self.eval_dataset)):
            cache = self.config.cache
            if cache is None:
                cache = fits_in_memory(dataset.cache_bytes(size) * copies)
            if cache:
                bar_task = bar.add_task(f'decoding {dataset.split}', total=len(dataset), details='')
                dataset.cache(size, progress=partial(_advance, bar, bar_task))
                bar.remove_task(bar_task)

    def _introduction(self) -> str:
        """What is trained, in one line."""
        method, backbone = method_and_backbone(self.model, self.recipe.task)
        trained = sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)
        whole = sum(parameter.numel() for parameter in self.model.parameters())
        size = self.model.pretrained_cfg['input_size'][-1]
        return (f'{method} over {backbone}, input {size} px, {whole / 1e6:.1f} million parameters of which {trained / 1e6:.1f} trained; '
                f'{self.recipe.epochs} epochs of {self.steps_per_epoch} steps with {self.images_per_step} images')

    def _estimate(self) -> None:
        """Say how long the run will take, once. The steps so far include the first ones, so it will rather be less."""
        self._estimated = True
        left = self.recipe.epochs * self.steps_per_epoch - self.epoch * self.steps_per_epoch - self.step_in_epoch
        memory = peak_memory(self.accelerator.device)
        print(f'about {time_left(left * self._timed_seconds / self._timed)} to go without measuring'
              f"{f', {memory / 1e9:.1f} GB of memory so far' if memory else ''}", file=sys.stderr, flush=True)

    def _train_epoch(self, bar: Progress, bar_task: TaskID) -> None:
        recipe, accelerator = self.recipe, self.accelerator
        self._train_backbone(True)  # train_mode would take a backbone that waits for one that is never trained
        train_mode(self.prepared, self.model, self.recipe)
        self._train_backbone(self.epoch >= recipe.frozen_epochs)
        if self.step_in_epoch == 0 and recipe.similar_classes > 1:  # an epoch that is resumed has those it began with
            self.sampler.class_vectors = class_vectors(self.model)
        self.sampler.set_epoch(self.epoch, start=self.step_in_epoch * recipe.batch_size)
        begun = saved = now = time.monotonic()
        before = self.meters.seconds
        for images, targets in self.loader:
            step = self.epoch * self.steps_per_epoch + self.step_in_epoch
            last, typical = now, self._is_typical()
            torch.manual_seed(derive_seed(self.config.seed, step, accelerator.process_index))
            self.scheduler.step_update(step)
            parts = self._step(images, targets, step)
            self.meters.add(parts)
            self.step_in_epoch += 1
            now = time.monotonic()
            self.meters.seconds = before + now - begun
            details = self.meters.brief(self.images_per_step)
            bar.update(bar_task, advance=1, description=f'epoch {self.epoch + 1}/{recipe.epochs}', details=details)
            self.log.update(self._line)
            if typical and not self._estimated:
                self._timed, self._timed_seconds = self._timed + 1, self._timed_seconds + now - last
                if self.config.progress and self._timed == _ESTIMATED_AFTER:
                    self._estimate()
            signal, due = self._agree(step, now - saved > CHECKPOINT_SECONDS)
            if signal or due:
                self.seconds += now - saved
                self._save()
                saved = time.monotonic()
            if signal:
                self._stop(signal)
        self.seconds += time.monotonic() - saved

    def _agree(self, step: int, due: bool) -> tuple[int, bool]:
        """The signal that a process received (0 for none), and whether a checkpoint is due.

        Several processes must save at the same step, so they tell each other, after every tenth one: each time costs a round trip.
        """
        if self.accelerator.num_processes == 1:
            return self.stop.received, due
        if (step + 1) % 10:
            return 0, False
        mine = torch.tensor([[self.stop.received, int(due)]], device=self.accelerator.device)
        signal, anyone_due = self.accelerator.gather(mine).amax(0).tolist()
        return signal, bool(anyone_due)

    def _is_typical(self) -> bool:
        """Whether a step costs now what most steps do."""
        return self.epoch >= max(self.recipe.early_epochs, self.recipe.frozen_epochs) and getattr(self.task, 'typical', True)

    def _train_backbone(self, trains: bool) -> None:
        """Let the backbone's weights get gradients, or not: without one, the optimizer leaves them and their momentum alone."""
        for parameter in self.backbone:
            parameter.requires_grad_(trains)

    def _step(self, images: Tensor, targets: Tensor, step: int) -> dict[str, float]:
        """One optimizer step; returns the loss and its parts."""
        device, count = self.accelerator.device, self.recipe.accumulate
        images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
        targets = targets.to(device, non_blocking=True)
        rows = []
        for part, (some, labels) in enumerate(zip(images.chunk(count), targets.chunk(count), strict=True), start=1):
            # the processes' gradients are averaged once, after the last part
            with nullcontext() if part == count else self.accelerator.no_sync(self.prepared):
                rows.append(self._accumulate(some, labels, step))
        self._update(step)
        return {key: sum(row[key] for row in rows) / count for key in rows[0]}

    def _accumulate(self, images: Tensor, targets: Tensor, step: int) -> dict[str, float]:
        """Add the gradients of one of the parts of a step's images; returns the loss and its components on them."""
        accelerator, task = self.accelerator, self.task
        in_parts = isinstance(task, MethodTask) and accelerator.num_processes == 1
        with accelerator.autocast():
            if isinstance(task, MethodTask) and in_parts:
                # each part of the loss gets its own backward, so that a step needs the memory of one forward pass
                result = task.step(images, targets, self._backward)
            else:
                result = self.prepared(images, targets)
        values = self._values(result, targets)
        if not math.isfinite(values['loss']):
            parts = ', '.join(f'{key} {value:.4g}' for key, value in values.items() if key != 'correct')
            kept = f"; the last good checkpoint is '{self.folder / CHECKPOINT}'" if (self.folder / CHECKPOINT).exists() else ''
            raise UserError(f'the loss is {values["loss"]} at epoch {self.epoch + 1}, step {step} ({parts}): '
                            f'lower the learning rate{kept}')
        if not in_parts:
            self._backward(result['loss'])
        return values

    def _backward(self, loss: Tensor) -> None:
        with torch.autocast(self.accelerator.device.type, enabled=False):
            self.accelerator.backward(loss / self.recipe.accumulate)

    def _update(self, step: int) -> None:
        """Change the weights by their gradients, and the averaged weights."""
        if self.recipe.clip_grad:
            self.accelerator.clip_grad_norm_(self.task.parameters(), self.recipe.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model, step=step)

    def _values(self, result: dict[str, Tensor], targets: Tensor) -> dict[str, float]:
        """The loss, its components and the accuracy in percent, means over the processes, copied from the device at once."""
        scalars = {key: value.detach() for key, value in result.items() if value.ndim == 0}
        scalars['correct'] = (result['output'].detach().argmax(1) == targets).float().mean() * 100
        values = torch.stack([value.float() for value in scalars.values()])
        if self.accelerator.num_processes > 1:
            values = self.accelerator.reduce(values, 'mean')
        return dict(zip(scalars, values.tolist(), strict=True))

    def _line(self) -> str:
        """Where the run is, for a log."""
        done = self.epoch * self.steps_per_epoch + self.step_in_epoch
        left = (self.recipe.epochs * self.steps_per_epoch - done) * self.meters.seconds / max(self.meters.steps, 1)
        return (f'epoch {self.epoch + 1}/{self.recipe.epochs} step {self.step_in_epoch}/{self.steps_per_epoch} '
                f'{self.meters.describe(self.images_per_step)} {time_left(left)} left')

    def _stop(self, signal: int) -> NoReturn:
        """Leave a model, say how to go on, and end the process as the signal would."""
        if self.accelerator.is_main_process:
            self._export(self.folder)
        command = self.config.command if '--resume' in self.config.command else f'{self.config.command} --resume'
        count = self.accelerator.num_processes
        launched = f' (in {count} processes, as before)' if count > 1 else ''
        go_on = f'; go on with{launched}: {command}' if self.config.command else ''
        where = f'stopped after step {self.step_in_epoch} of epoch {self.epoch + 1}'
        self.accelerator.wait_for_everyone()  # the main process has saved
        if self.accelerator.is_main_process:
            print(f"{where}, saved in '{self.folder}'{go_on}", file=sys.stderr, flush=True)
        self.accelerator.end_training()
        raise SystemExit(128 + signal)

    def _finish_epoch(self) -> None:
        """Measure, write the row, advance, save."""
        means = self.meters.means()
        row: dict[str, Any] = dict(
            epoch=self.epoch + 1, lr=self.optimizer.param_groups[0]['lr'] / self.optimizer.param_groups[0].get('lr_scale', 1.0),
            loss=means.pop('loss'), train_top1=means.pop('correct'))
        row.update({f'loss_{key}': value for key, value in means.items()})
        row.update(images_per_second=round(self.meters.rate(self.images_per_step), 1), seconds=round(self.meters.seconds, 1))
        last = self.epoch + 1 == self.recipe.epochs
        if self.eval_dataset is not None and ((self.epoch + 1) % self.config.eval_every == 0 or last):
            row.update(self._measure(self.eval_dataset))
        if self.epoch == 0 and self.accelerator.is_main_process and not getattr(self.task, 'has_phases', False):
            warn_at_chance(row['train_top1'], len(self.class_names), self.meters.steps, self.recipe.batch_size)
        if self.accelerator.is_main_process:
            self.history.add({key: float(f'{value:.8g}') if isinstance(value, float) else value for key, value in row.items()})
            if self.config.progress:
                print(summary(row, self.recipe.epochs, self.config.measured), flush=True)
            self._export_epoch(row)
        self.epoch, self.step_in_epoch, self.meters = self.epoch + 1, 0, Meters()
        self._save()

    def _export_epoch(self, row: dict[str, Any]) -> None:
        """The model after an epoch, where it is wanted, and the best so far."""
        config = self.config
        if config.save_every and (self.epoch + 1) % config.save_every == 0:
            self._export(self.folder)
        measured = f'{config.measured}_top1'
        if config.keep_best and row.get(measured, self.best) > self.best:
            self.best = row[measured]
            self._export(self.folder / BEST)
            self._describe(self.folder / BEST, epoch=self.epoch + 1)

    def _measure(self, dataset: ImageDataset) -> dict[str, float]:
        """Accuracies of the weights that would be kept, in percent. Photographs held back from training calibrate the model too."""
        split, name = self.config.eval_split, self.config.measured
        try:
            answers = measure(self.final_model, dataset, self.accelerator, self.recipe.batch_size, self.config.workers)
        except ImageError as error:  # the accuracy on fewer images is not comparable with other epochs
            warnings.warn(f"the split '{split}' is not measured after epoch {self.epoch + 1}: {error}", stacklevel=1)
            return {}
        if (self.config.train_split, split) == TUNING_SPLITS:  # not with a test split, which would no longer be one
            self.model.calibration = fit_calibration(answers.scores['combined'], answers.targets)
            if not self.model.calibration.threshold:
                warnings.warn(TOO_FEW, stacklevel=1)
        metrics = summarize(answers, dataset, self.model.pretrained_cfg)
        parts = {f'{name}_{part}_top1': metrics[part]['top1'] for part in parts_of(metrics) if part != 'combined'}
        return {f'{name}_top1': metrics['top1'], **parts}


def summary(row: dict[str, Any], epochs: int, split: str | None) -> str:
    """An epoch in one line for people.

    Args:
        row: Of the history.
        epochs: Of the whole run.
        split: What the row calls the split that is measured, if any.
    """
    parts = [f"loss {row['loss']:.3f}", f"training accuracy {row['train_top1']:.1f} %"]
    if split and f'{split}_top1' in row:
        parts.append(f"accuracy on {split.replace('_', ' ')} {row[f'{split}_top1']:.1f} %")
    parts.append(f"{row['images_per_second']:.0f} images/s")
    return f"epoch {row['epoch']}/{epochs}: {', '.join(parts)}"


def _advance(bar: Progress, bar_task: TaskID, done: int, total: int) -> None:
    bar.update(bar_task, completed=done, total=total)
