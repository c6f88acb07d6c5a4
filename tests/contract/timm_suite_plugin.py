"""A pytest plugin that makes timm's tests list the models of this zoo."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import timm

import fgvc_zoo  # noqa: F401  (registers the models)
from fgvc_zoo.tasks import TASKS

PATTERNS = os.environ.get('FGVC_ZOO_SUITE_MODELS', '*').split(',')
MODULES = [name for name in TASKS if name != 'baseline']


def only_ours(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """timm's list_models, limited to our modules and to the wanted patterns."""
    def list_models(*args: Any, **kwargs: Any) -> list[str]:
        kwargs['module'] = MODULES
        return [name for name in original(*args, **kwargs) if any(fnmatch(name.split('.')[0], pattern) for pattern in PATTERNS)]
    return list_models


timm.list_models = only_ours(timm.list_models)


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep the tests that are about a model of ours; timm's suite also has some about named models of its own."""
    ours = [item for item in items if _model(item) is not None and timm.list_models(_model(item).split('.')[0])]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours


def _model(item: Any) -> str | None:
    callspec = getattr(item, 'callspec', None)
    return callspec.params.get('model_name') if callspec else None
