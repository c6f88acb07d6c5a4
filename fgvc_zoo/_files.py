"""Atomic writes, checksums, and state dicts for files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, first_line


def atomic_write(path: Path, write: Callable[[Path], Any]) -> None:
    """Call `write(temporary path)`, flush the file to the disk and rename it to `path`.

    Args:
        path: The file to create or replace; of a link, the file that it points to. Missing folders are created.
        write: Writes the file whose path it is given.

    Raises:
        UserError: Writing failed. After this and any other error the temporary file is removed and `path` is unchanged.
    """
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    part = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        mode = part.stat().st_mode
        write(part)
        part.chmod(mode)  # safetensors makes files that only their owner can read
        with open(part, 'rb+') as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if not isinstance(error, (OSError, SafetensorError)):
            raise
        reason = getattr(error, 'strerror', None) or str(error)
        kept = ', the previous one is kept' if path.exists() else ''
        raise UserError(f"cannot write '{path}': {reason}{kept}; free some space or choose another folder") from error


def check_output(path: Path, *keys: str) -> None:
    """Check that a JSON file can be written, before the work begins whose result it will hold.

    Args:
        path: The file.
        keys: What every earlier result has, which may be replaced.

    Raises:
        UserError: The folder cannot be written, there is a file of another kind, or the path is '-'.
    """
    if str(path) == '-':
        raise UserError("the result is written to a file: give its name instead of '-'")
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            content = None
        known = isinstance(content, dict) and content.keys() >= set(keys)
        if not known:
            raise UserError(f"'{path}' exists and is no earlier result, so it is not overwritten: choose another name")
    elif path.exists():
        raise UserError(f"'{path}' is no file: give the name of a file")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make a folder for output and check that files can be written there.

    Raises:
        UserError: They cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"nothing can be written to '{folder}': {error.strerror}; choose another folder") from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file with `atomic_write`; what a file's name has that is no UTF-8 becomes an escape."""
    atomic_write(path, lambda part: part.write_text(text, encoding='utf-8', errors='backslashreplace'))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with `atomic_write`."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """A value as indented JSON with a final newline."""
    return json.dumps(value, indent=2, ensure_ascii=False) + '\n'


def sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def git_sha1(path: Path) -> str:
    """Git blob SHA-1 of a file, 40 hex digits."""
    content = path.read_bytes()
    return hashlib.sha1(b'blob %d\0' % len(content) + content).hexdigest()


def without_folders(command: str) -> str:
    """A command line for a published record: each absolute path is cut to its last part, so that no folder of a machine is published.

    'fgvc-zoo evaluate /home/me/run --data cub200:/data/cub' becomes 'fgvc-zoo evaluate run --data cub200:cub'.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation mark in a name
        words = command.split()
    return shlex.join(re.sub(r'(?:^|(?<=[:=]))(?:~|[A-Za-z]:)?[/\\].*?([^/\\]*)[/\\]*$', r'\1', word) for word in words)


def cpu_state_dict(module: nn.Module) -> dict[str, Tensor]:
    """A module's state dict on the CPU. Each tensor has its own contiguous memory, as safetensors demands."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}


def tensor_checksum(tensors: Mapping[str, Tensor], text: str = '') -> str:
    """SHA-256 of a text and of the names and values of tensors on the CPU, 64 hex digits. safetensors has no checksum of its own."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors with its checksum, atomically."""
    metadata = {'format': 'pt', 'sha256': tensor_checksum(state)}
    atomic_write(path, lambda part: save_file(dict(state), part, metadata=metadata))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict, and compare it with its checksum if it has one.

    Raises:
        UserError: The file cannot be read, is no safetensors file, or is damaged.
    """
    try:
        with safe_open(path, framework='pt') as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
            expected = (file.metadata() or {}).get('sha256')
    except Exception as error:  # a damaged header can name sizes and types that PyTorch refuses in many ways
        raise UserError(f"'{path}' is damaged or is not a safetensors file ({first_line(error)})") from error
    if expected is not None and expected != tensor_checksum(state):
        raise UserError(f"'{path}' is damaged: its checksum differs")
    return state


def half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with every floating point tensor rounded to fp16."""
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
