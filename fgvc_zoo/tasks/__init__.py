"""Training tasks by name: one per method, on timm's TrainingTask."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from timm.task import TrainingTask
from torch import nn

from fgvc_zoo._errors import UserError, nearest
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
    """The task called `name` around `model`.

    Raises:
        UserError: There is no such task, or it has no such argument.
    """
    if name not in TASKS:
        raise UserError(f"there is no task '{name}'{nearest(name, TASKS)} (there are {', '.join(TASKS)})")
    known = [key for key in inspect.signature(TASKS[name]).parameters if key != 'model']
    for key in args:
        if key not in known:
            raise UserError(f"task '{name}' has no argument '{key}'{nearest(key, known)} (it has {', '.join(known)})")
    return TASKS[name](model, **args)


__all__ = ['TASKS', 'APINetTask', 'BaselineTask', 'MAMCTask', 'RACNNTask', 'WSBANTask', 'WSDANTask', 'create_task']
