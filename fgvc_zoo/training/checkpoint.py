"""Resumable state as one safetensors file: no pickle, written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fgvc_zoo._errors import UserError

CHECKPOINT = 'checkpoint.safetensors'  # in a run folder
_TENSOR = '__tensor__'


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers, strings and None.

    The file appears whole or not at all: it is written beside its place, flushed to the disk and then renamed.

    Args:
        path: Where to; an older file stays until the new one is complete.
        state: The state. Dict keys may be strings or integers.

    Raises:
        UserError: The disk is full or the folder cannot be written; the older file is untouched.
    """
    tensors: dict[str, Tensor] = {}
    structure = _pack(state, tensors)
    atomic_write(path, lambda part: save_file(tensors, part, metadata={'structure': json.dumps(structure)}))


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        UserError: The file is damaged or is not such a file.
    """
    try:
        with safe_open(path, framework='pt') as file:
            structure = (file.metadata() or {}).get('structure')
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"checkpoint '{path}' is damaged ({error}); remove it to start again") from error
    if structure is None:
        raise UserError(f"'{path}' is a safetensors file, but not a training checkpoint")
    return _unpack(json.loads(structure), tensors)


def atomic_write(path: Path, write: Any) -> None:
    """Call `write(temporary path)`, flush the file and rename it to `path`.

    Args:
        path: The file to replace.
        write: Callable that writes the file whose path it is given.

    Raises:
        UserError: Writing failed; nothing is left behind and `path` is as it was.
    """
    part = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with open(part, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        reason = getattr(error, 'strerror', None) or str(error)
        kept = ', the previous one is kept' if path.exists() else ''
        raise UserError(f"cannot write '{path}': {reason}{kept}; free some space or choose another folder") from error


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        # safetensors refuses tensors that share memory, so each gets its own
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: key}
    if isinstance(value, dict):
        return {'__dict__': [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_pack(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f'cannot store a {type(value).__name__} in a checkpoint')


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _unpack(item, tensors) for key, item in value['__dict__']}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


def cpu_state_dict(module: torch.nn.Module) -> dict[str, Tensor]:
    """A module's state on the CPU, each tensor in its own contiguous memory."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
