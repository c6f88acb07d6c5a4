"""What a training would be, from a few of its steps: settings, learning rates, time, memory, and where the time goes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from fgvc_zoo._device import peak_memory
from fgvc_zoo.tasks import MethodTask
from fgvc_zoo.training.config import TrainConfig
from fgvc_zoo.training.setup import train_mode
from fgvc_zoo.training.trainer import Run, with_task_settings

WARM_UP, STEPS = 4, 5  # the first steps allocate memory and choose kernels


@dataclass(frozen=True)
class Preview:
    """What `preview` found.

    Attributes:
        recipe: The settings, with everything that the model and the task leave open filled in.
        groups: (number of parameters, learning rate, weight decay) of each group of the optimizer.
        frozen: Number of parameters that are not trained.
        steps_per_epoch: Optimizer steps an epoch.
        images_per_step: Images a step, of all processes.
        seconds_per_step: Median.
        parts: Where the time of a step goes, means in seconds: 'loading' (waiting for images), 'forward', 'backward', 'update'.
        memory: Largest memory in bytes: of the accelerator if there is one, else of this process; 0 if unknown.
        operators: The operators that take longest, as a table; '' if it was not asked for.
    """

    recipe: dict[str, Any]
    groups: list[tuple[int, float, float]]
    frozen: int
    steps_per_epoch: int
    images_per_step: int
    seconds_per_step: float
    parts: dict[str, float]
    memory: int
    operators: str = ''

    @property
    def seconds(self) -> float:
        """Estimated time of the whole training, without measuring and saving."""
        return self.recipe['epochs'] * self.steps_per_epoch * self.seconds_per_step


def preview(config: TrainConfig, operators: bool = False) -> Preview:
    """Set a training up, take a few of its steps on its images, and forget them. No file is written.

    Args:
        config: The run's settings; `output` and `resume` are not used.
        operators: Profile two more steps.

    Raises:
        UserError: The data or the model cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = _TimedRun(with_task_settings(replace(config, resume=False)), Path(folder))
        return run.preview(operators)


class _TimedRun(Run):
    """A run whose backward passes and updates are timed."""

    def preview(self, operators: bool) -> Preview:
        train_mode(self.prepared, self.model, self.recipe)
        self.sampler.set_epoch(self.recipe.early_epochs)  # whose images have their full size
        if isinstance(self.task, MethodTask):
            self.task.become_typical()
        batches = (batch for _ in range(WARM_UP + STEPS) for batch in self.loader)  # an epoch may have fewer steps
        steps = [self._timed_step(batches, step) for step in range(WARM_UP + STEPS)][WARM_UP:]
        table = self._profile() if operators else ''
        weight_groups = [
            (sum(parameter.numel() for parameter in group['params']), self.recipe.lr * group['lr_scale'], group['weight_decay'])
            for group in self.optimizer.param_groups]
        return Preview(
            recipe=self.recipe.to_dict(), groups=weight_groups,
            frozen=sum(parameter.numel() for parameter in self.model.parameters() if not parameter.requires_grad),
            steps_per_epoch=self.steps_per_epoch, images_per_step=self.images_per_step,
            seconds_per_step=median(sum(parts.values()) for parts in steps),
            parts={name: sum(parts[name] for parts in steps) / len(steps) for name in steps[0]},
            memory=peak_memory(self.accelerator.device), operators=table)

    def _timed_step(self, batches: Iterator[list[Tensor]], step: int) -> dict[str, float]:
        begun = self._now()
        images, targets = next(batches)
        loaded = self._now()
        self.spent = dict(backward=0.0, update=0.0)
        self._step(images, targets, step)
        whole = self._now() - loaded
        return dict(loading=loaded - begun, forward=whole - sum(self.spent.values()), **self.spent)

    def _backward(self, loss: Tensor) -> None:
        begun = self._now()
        super()._backward(loss)
        self.spent['backward'] += self._now() - begun

    def _update(self, step: int) -> None:
        begun = self._now()
        super()._update(step)
        self.spent['update'] += self._now() - begun

    def _now(self) -> float:
        if self.accelerator.device.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter()

    def _profile(self) -> str:
        images, targets = next(iter(self.loader))
        with torch.profiler.profile() as profile:
            for step in range(2):
                self._step(images, targets, step)
        order = 'self_cuda_time_total' if self.accelerator.device.type == 'cuda' else 'self_cpu_time_total'
        return str(profile.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=40))
