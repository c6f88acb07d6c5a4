"""Index files of data sets: text, tables, JSON and MATLAB files. Every error names the file, and the line where there is one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fgvc_zoo._errors import UserError

Table = dict[Any, tuple[int, str]]  # (line number from 1, text) by number or name


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, as (line number from 1, stripped text)."""
    try:
        text = path.read_text(encoding='utf-8-sig')
    except FileNotFoundError:
        raise UserError(f"the data set's file '{path}' is missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the data set's file '{path}' cannot be read as text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def read_table(path: Path, numbered: bool = True) -> Table:
    """Lines 'number rest' as {number: (line number, rest)}, or 'name rest' if not `numbered`."""
    table: Table = {}
    for line, text in read_lines(path):
        name, _, rest = text.partition(' ')
        if not rest.strip() or (numbered and not name.isdecimal()):
            raise UserError(f"{path}, line {line}: expected a number and a value, not '{text}'")
        key = int(name) if numbered else name
        if key in table:
            raise UserError(f'{path}, line {line}: number {key} occurs twice')
        table[key] = (line, rest.strip())
    return table


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise UserError(f"the data set's file '{path}' is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"the data set's file '{path}' cannot be read as JSON: {error}") from error


def read_matlab(path: Path) -> dict[str, Any]:
    """The variables of a MATLAB file (.mat, up to version 7), with needless dimensions removed.

    Raises:
        UserError: scipy is not installed, or the file is missing or is none.
    """
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError as error:
        raise UserError(f"'{path.name}' is a MATLAB file, and to read it needs scipy: pip install 'fgvc-zoo[data]'") from error
    if not path.is_file():
        raise UserError(f"the data set's file '{path}' is missing")
    try:
        content: dict[str, Any] = loadmat(path, squeeze_me=True)
    except Exception as error:  # scipy raises many types on damaged files
        raise UserError(f"the data set's file '{path}' cannot be read as a MATLAB file: {error}") from error
    return content


def entries_of(content: dict[str, Any], key: str, path: Path) -> Any:
    """A list in the content of a JSON file, or an array (N,) in that of a MATLAB file.

    Raises:
        UserError: The file has no such entry.
    """
    if not isinstance(content, dict) or key not in content:
        raise UserError(f"the data set's file '{path}' has no entry '{key}'")
    return content[key] if isinstance(content[key], list) else np.atleast_1d(content[key])
