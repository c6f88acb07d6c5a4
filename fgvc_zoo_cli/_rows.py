"""Answers as rows of a file or of standard output: a JSON array, JSON Lines or CSV. Each row is written at once and whole."""

from __future__ import annotations

import csv
import io
import json
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fgvc_zoo_cli._terminal import is_utf8

if TYPE_CHECKING:
    from fgvc_zoo.prediction import Prediction

STDOUT = '-'


def record(answer: Prediction) -> dict[str, Any]:
    """An answer as JSON has it: the path, and `predictions` (names and probabilities, best first) or `error`.

    `unknown` is true if the photograph probably shows none of the classes; it is left out otherwise.
    """
    if answer.error is not None:
        return dict(path=str(answer.path), error=answer.error)
    unknown = dict(unknown=True) if answer.unknown else {}
    best = [dict(name=name, probability=round(value, 6)) for name, value in zip(answer.names, answer.probabilities, strict=True)]
    return dict(path=str(answer.path), predictions=best, **unknown)


class Format(Protocol):
    """How answers become text. `ascii_only` asks for escapes instead of other letters, where there are escapes."""

    kind: str

    def begin(self) -> str: ...

    def row(self, answer: Prediction, ascii_only: bool) -> str: ...

    def end(self) -> str: ...

    def is_first_line(self, line: str) -> bool: ...


class JsonArray:
    """One JSON array, indented by two spaces, as `json.dumps` writes it."""

    kind = 'JSON'

    def begin(self) -> str:
        self._empty = True
        return '['

    def row(self, answer: Prediction, ascii_only: bool) -> str:
        text = json.dumps([record(answer)], indent=2, ensure_ascii=ascii_only)[1:-2]  # without the brackets and the line break before ']'
        comma, self._empty = '' if self._empty else ',', False
        return comma + text

    def end(self) -> str:
        return ']\n' if self._empty else '\n]\n'

    def is_first_line(self, line: str) -> bool:
        return line.rstrip() in ('[', '[]')


class JsonLines:
    """One JSON object a line."""

    kind = 'JSON Lines'

    def begin(self) -> str:
        return ''

    def row(self, answer: Prediction, ascii_only: bool) -> str:
        return json.dumps(record(answer), ensure_ascii=ascii_only) + '\n'

    def end(self) -> str:
        return ''

    def is_first_line(self, line: str) -> bool:
        """Whether it is an answer, or an empty file."""
        try:
            content = json.loads(line) if line else dict(path='', error='')
        except ValueError:
            return False
        return isinstance(content, dict) and content.keys() - {'unknown'} in ({'path', 'predictions'}, {'path', 'error'})


class Csv:
    """Path, names and probabilities in pairs, best first, 'true' if none of the classes fits, and the error, as RFC 4180 quotes them.

    What there is none of is empty.

    Args:
        pairs: Number of names and probabilities.
    """

    kind = 'CSV'

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs

    def begin(self) -> str:
        ranks = range(1, self.pairs + 1)
        return self._line(['path', *(column for rank in ranks for column in (f'name_{rank}', f'probability_{rank}')), 'unknown', 'error'])

    def row(self, answer: Prediction, ascii_only: bool) -> str:
        cells = [cell for name, value in zip(answer.names, answer.probabilities, strict=True) for cell in (name, f'{value:.6f}')]
        cells += [''] * (2 * self.pairs - len(cells))
        return self._line([str(answer.path), *cells, 'true' if answer.unknown else '', answer.error or ''])

    def end(self) -> str:
        return ''

    def is_first_line(self, line: str) -> bool:
        return not line or (line.startswith('path,name_1,probability_1,') and line.rstrip().endswith(',error'))

    @staticmethod
    def _line(cells: list[str]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerow(cells)
        return text.getvalue()


class Output:
    """A file of rows, or standard output. A file is UTF-8 and ends with a whole row at any moment.

    Bytes of a path that are not UTF-8 become escapes such as `\\udcff`, which JSON's readers turn back.

    Args:
        target: The file, or '-'.
        format: How rows look.

    Raises:
        UserError: The file cannot be written, or it exists and holds something else than such rows.
    """

    def __init__(self, target: Path | str, format: Format) -> None:
        self.target, self.format = target, format
        self._file: io.FileIO | None = None
        if str(target) != STDOUT:
            check_rows(Path(target), format)

    def open(self) -> None:
        """Begin the file; an earlier one is replaced."""
        if str(self.target) != STDOUT:
            self._file = io.FileIO(str(self.target), 'wb')
        self._write(self.format.begin())

    def write(self, answer: Prediction) -> None:
        """Write one row.

        Raises:
            UserError: The disk is full, or the like. The rows before it are whole.
        """
        self._write(self.format.row(answer, ascii_only=self._file is None and not is_utf8(sys.stdout)))

    def close(self) -> None:
        """End the file."""
        self._write(self.format.end())
        if self._file is not None:
            self._file.close()

    def _write(self, text: str) -> None:
        content = text.encode('utf-8', 'backslashreplace')
        if self._file is None:
            sys.stdout.write(content.decode('utf-8'))
            sys.stdout.flush()
            return
        begun = self._file.tell() if self._file.seekable() else None
        try:
            while content:
                content = content[self._file.write(content):]
        except OSError as error:
            from fgvc_zoo._errors import UserError

            if begun is not None:
                self._file.truncate(self._file.seek(begun))
            raise UserError(f"cannot write to '{self.target}': {error.strerror}; its rows are whole, but not all are there") from error


def check_rows(path: Path, format: Format) -> None:
    """Check that rows can be written to a file. One with rows of the same format is replaced, as `check_output` does with JSON.

    Raises:
        UserError: There is a folder or another kind of file of that name, or the folder cannot be written.
    """
    from fgvc_zoo._errors import UserError
    from fgvc_zoo._files import check_folder

    if path.is_dir():
        raise UserError(f"'{path}' is a folder: give the name of a file")
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        return  # a pipe or a device
    if path.exists():
        try:
            with open(path, encoding='utf-8') as file:
                same = format.is_first_line(file.readline(1_000_000))
        except (OSError, ValueError):
            same = False
        if not same:
            raise UserError(f"'{path}' exists and is no {format.kind} file of answers, so it is not overwritten: choose another name")
    check_folder(path.parent)
