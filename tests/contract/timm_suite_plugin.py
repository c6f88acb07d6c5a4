"""A pytest plugin that makes timm's tests list the models of this zoo."""

from __future__ import annotations

import os
from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any

import pytest
import timm

from fgvc_zoo.models import METHODS

SECONDS = 900  # for one test; timm's own limits are for fast machines
PATTERNS = os.environ.get('FGVC_ZOO_SUITE_MODELS', '*').split(',')
OURS = [name for method in METHODS.values() for name in method.model_names]
WANTED = {name for name in OURS if any(fnmatch(name, pattern) for pattern in PATTERNS)}

# Start of a test's id -> why our models are left out of it. timm leaves `hiera_*`, `hrnet*`, `densenet*` and `selecsls*` out of
# TorchScript, tokens-only models out of the NCHW tests, and so on; what it leaves out for a backbone may be left out here.
EXCLUDED: dict[str, str] = {}


def only_ours(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """timm's list_models, limited to our models and to the wanted names; a restriction to modules of timm is lifted."""
    def list_models(filter: str | list[str] = '', module: str | list[str] = '', **options: Any) -> list[str]:
        names = original(filter, **options)
        return [name for name in names if name.partition('.')[0] in WANTED]
    return list_models


timm.list_models = only_ours(timm.list_models)


def pytest_configure(config: pytest.Config) -> None:
    """timm declares its markers in a file that is not used here."""
    for name in ('base', 'forward', 'backward', 'cfg', 'cfg_nonstd', 'torchscript', 'features', 'fxforward', 'fxbackward'):
        config.addinivalue_line('markers', f"{name}: timm's")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that are about a model of ours; timm's suite also has some about named models of its own."""
    ours = [item for item in items if _is_ours(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in ours])
    items[:] = ours
    for item in items:
        item.add_marker(pytest.mark.timeout(SECONDS), append=False)
        for start, reason in EXCLUDED.items():
            if item.name.startswith(start):
                item.add_marker(pytest.mark.skip(reason=reason))


def _is_ours(item: pytest.Item) -> bool:
    callspec = getattr(item, 'callspec', None)
    return callspec is not None and str(callspec.params.get('model_name', '')).partition('.')[0] in WANTED
