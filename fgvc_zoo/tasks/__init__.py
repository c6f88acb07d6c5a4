"""Training tasks by name: one per method, on timm's TrainingTask."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from timm.task import TrainingTask
from torch import nn

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo.models import METHODS
from fgvc_zoo.tasks.apinet import APINetTask
from fgvc_zoo.tasks.baseline import BaselineTask
from fgvc_zoo.tasks.osme import MAMCTask
from fgvc_zoo.tasks.racnn import RACNNTask
from fgvc_zoo.tasks.wsban import WSBANTask
from fgvc_zoo.tasks.wsdan import WSDANTask

TASKS: dict[str, Callable[..., TrainingTask]] = {
    'apinet': APINetTask, 'baseline': BaselineTask, 'mamc': MAMCTask, 'racnn': RACNNTask, 'wsban': WSBANTask,
    'wsdan': WSDANTask}


def create_task(name: str, model: nn.Module, **args: Any) -> TrainingTask:
    """The task called `name`, one of `TASKS` or that of a registered method, around `model`.

    Raises:
        UserError: There is no such task, or it has no such argument.
    """
    tasks = {**TASKS, **{method.name: method.task for method in METHODS.values() if method.task}}
    if name not in tasks:
        raise UserError(f"there is no task '{name}'{nearest(name, tasks)} (there are {', '.join(tasks)})")
    known = [key for key in inspect.signature(tasks[name]).parameters if key != 'model']
    for key in args:
        if key not in known:
            raise UserError(f"task '{name}' has no argument '{key}'{nearest(key, known)} (it has {', '.join(known)})")
    return tasks[name](model, **args)


__all__ = ['TASKS', 'APINetTask', 'BaselineTask', 'MAMCTask', 'RACNNTask', 'WSBANTask', 'WSDANTask', 'create_task']
