"""Resumable state as one safetensors file: no pickle, written atomically, with a checksum; the one before is kept."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import atomic_write, tensor_checksum

CHECKPOINT, PREVIOUS = 'checkpoint.safetensors', 'checkpoint.previous.safetensors'  # in a run folder
_TENSOR, _TUPLE, _DTYPE = '__tensor__', '__tuple__', '__dtype__'


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested dicts, lists and tuples of tensors, dtypes, numbers, strings and None.

    The file appears whole or not at all: it is written beside its place, flushed to the disk and then renamed.

    Args:
        path: Where to; an older file stays until the new one is complete.
        state: The state. Dict keys may be strings or integers.

    Raises:
        UserError: The disk is full or the folder cannot be written; the older file is untouched.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_pack(state, tensors))
    metadata = {'structure': structure, 'sha256': tensor_checksum(tensors, structure)}
    atomic_write(path, lambda part: save_file(tensors, part, metadata=metadata))


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """`save_state` as the checkpoint of a run folder. The checkpoint before is kept beside it."""
    current, previous = folder / CHECKPOINT, folder / PREVIOUS
    if current.exists():
        previous.unlink(missing_ok=True)
        try:
            os.link(current, previous)
        except OSError:  # a file system without links
            shutil.copyfile(current, previous)
    save_state(current, state)


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """The checkpoint of a run folder, or the one before if it is damaged.

    Raises:
        UserError: Neither can be read.

    Warns:
        UserWarning: The one before is used.
    """
    try:
        return load_state(folder / CHECKPOINT)
    except UserError as error:
        if not (folder / PREVIOUS).exists():
            raise
        state = load_state(folder / PREVIOUS)
        warnings.warn(f'{error}; the run goes on from the checkpoint before it', stacklevel=2)
        return state


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        UserError: The file is damaged or is not such a file.
    """
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"the checkpoint '{path}' is damaged ({error})") from error
    structure = metadata.get('structure')
    if structure is None:
        raise UserError(f"'{path}' is a safetensors file, but not a training checkpoint")
    if 'sha256' in metadata and metadata['sha256'] != tensor_checksum(tensors, structure):  # older ones have none
        raise UserError(f"the checkpoint '{path}' is damaged (its checksum differs)")
    return _unpack(json.loads(structure), tensors)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        key = str(len(tensors))
        # safetensors refuses tensors that share memory, so each gets its own
        tensors[key] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: key}
    if isinstance(value, dict):
        return {'__dict__': [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):  # optimizers tell them from lists
        return {_TUPLE: [_pack(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_pack(item, tensors) for item in value]
    if isinstance(value, torch.dtype):
        return {_DTYPE: str(value).removeprefix('torch.')}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f'cannot store a {type(value).__name__} in a checkpoint')


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _TUPLE in value:
            return tuple(_unpack(item, tensors) for item in value[_TUPLE])
        if _DTYPE in value:
            return getattr(torch, value[_DTYPE])
        return {key: _unpack(item, tensors) for key, item in value['__dict__']}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
