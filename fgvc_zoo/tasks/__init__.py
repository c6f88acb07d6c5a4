"""Training tasks by name, on timm's TrainingTask. A method's task has the method's name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from timm.task import TrainingTask
from torch import nn

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo._processes import gather, gather_with_gradient, share, shared_random
from fgvc_zoo.models import METHODS
from fgvc_zoo.tasks.apinet import APINetTask
from fgvc_zoo.tasks.base import MethodTask
from fgvc_zoo.tasks.baseline import BaselineTask
from fgvc_zoo.tasks.centers import CenterTask
from fgvc_zoo.tasks.osme import OSMETask
from fgvc_zoo.tasks.racnn import RACNNTask
from fgvc_zoo.tasks.wsban import WSBANTask
from fgvc_zoo.tasks.wsdan import WSDANTask

TASKS: dict[str, Callable[..., TrainingTask]] = {
    'apinet': APINetTask, 'baseline': BaselineTask, 'osme': OSMETask, 'racnn': RACNNTask, 'wsban': WSBANTask, 'wsdan': WSDANTask}


def find_task(name: str) -> Callable[..., TrainingTask]:
    """The task called `name`: one of `TASKS`, or that of a registered method.

    Raises:
        UserError: There is no such task.
    """
    if name == 'mamc':
        raise UserError("the task 'mamc' is now called 'osme', as its method is: change the name in the recipe or in run.json")
    tasks = {**TASKS, **{method.name: method.task for method in METHODS.values() if method.task}}
    if name not in tasks:
        raise UserError(f"there is no task '{name}'{nearest(name, tasks)} (there are {', '.join(sorted(tasks))})")
    return tasks[name]


def create_task(name: str, model: nn.Module, **args: Any) -> TrainingTask:
    """The task called `name` (see `find_task`), around `model`.

    Raises:
        UserError: There is no such task, it does not train this model, or it has no such argument.

    Example:
        >>> import timm, torch
        >>> model = timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4)
        >>> result = create_task('wsdan', model)(torch.rand(2, 3, 64, 64), torch.tensor([0, 2]))
        >>> sorted(result)
        ['center', 'crop', 'drop', 'loss', 'output', 'raw']
    """
    settings = ['smoothing', *task_settings(name)]
    for key in args:
        if key not in settings:
            raise UserError(f"task '{name}' has no argument '{key}'{nearest(key, settings)} (it has {', '.join(settings)})")
    return find_task(name)(model, **args)


def task_settings(name: str) -> dict[str, Any]:
    """A task's arguments with their defaults, without the model and the label smoothing, which has a recipe key of its own.

    Raises:
        UserError: There is no such task.
    """
    parameters = inspect.signature(find_task(name)).parameters
    return {key: parameter.default for key, parameter in parameters.items() if key not in ('model', 'smoothing')}


__all__ = [
    'TASKS', 'APINetTask', 'BaselineTask', 'CenterTask', 'MethodTask', 'OSMETask', 'RACNNTask', 'WSBANTask', 'WSDANTask', 'create_task',
    'find_task', 'gather', 'gather_with_gradient', 'share', 'shared_random', 'task_settings',
]
