"""`fgvc-zoo data`: which data sets are known, where to get one, and what is wrong with a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fgvc_zoo_cli._common import Json
from fgvc_zoo_cli._terminal import console, print_json

if TYPE_CHECKING:
    from fgvc_zoo.data import DataReport, ImageDataset

SHOWN = 10  # duplicates and unreadable images on the screen; the report has all


def data(
        what: Annotated[Optional[str], typer.Argument(
            metavar='[NAME | NAME:PATH | PATH]', help='A data set to describe, or a folder to check; all data sets if not given.')] = None,
        output: Annotated[Optional[Path], typer.Option(help='A folder for report.json and classes.png.')] = None,
        as_json: Json = False,
) -> None:
    """List the data sets, say where to get one, or check a folder."""
    from fgvc_zoo._errors import UserError, check_choice
    from fgvc_zoo.data import LAYOUTS

    if what is None or what in LAYOUTS:
        if output is not None:
            raise UserError('--output takes the report on a folder: give NAME:PATH or PATH')
        if as_json:
            print_json({name: _facts(layout) for name, layout in LAYOUTS.items() if what in (None, name)})
        elif what is None:
            _list()
        else:
            _describe(LAYOUTS[what])
        return
    if ':' not in what and not Path(what).expanduser().exists():
        check_choice('data set', what, LAYOUTS)
    raise typer.Exit(_check(what, output, as_json))


def _facts(layout: type[ImageDataset]) -> dict[str, object]:
    from dataclasses import asdict

    return dict(asdict(layout.info), fits=f'{layout.name}:PATH')


def _list() -> None:
    from rich.table import Table

    from fgvc_zoo.data import LAYOUTS

    table = Table()
    for column in ('--data', 'data set', 'classes', 'train', 'test', 'boxes'):
        table.add_column(column, justify='right' if column in ('classes', 'train', 'test') else 'left', overflow='fold')
    for name, layout in LAYOUTS.items():
        info = layout.info
        counts = [f'{info.images[split]:,}' if split in info.images else '' for split in ('train', 'test')]
        table.add_row(f'{name}:PATH', info.title, str(info.classes or ''), *counts, 'yes' if info.boxes else '')
    console().print(table, soft_wrap=False)


def _describe(layout: type[ImageDataset]) -> None:
    info = layout.info
    out = console()
    images = ', '.join(f'{split} {count:,}' for split, count in info.images.items())
    out.print(f'{layout.name}: {info.title}' + (f', {info.classes} classes' if info.classes else ''))
    for title, text in (('images', images), ('licence', info.licence or 'see the home page' if info.home else ''),
                        ('home page', info.home + (f' ({info.note})' if info.note else '')), ('citation', info.citation)):
        if text:
            out.print(f'{title}: {text}')
    out.print('PATH holds:')
    for line in info.folder.splitlines():
        out.print(f'  {line}')
    out.print(f'check it with: fgvc-zoo data {layout.name}:PATH')


def _check(spec: str, output: Path | None, as_json: bool) -> int:
    """Report on a folder; returns the exit status, 1 if something should be mended."""
    from fgvc_zoo._files import check_folder, write_json
    from fgvc_zoo._progress import progress_bar
    from fgvc_zoo.data import check_data, check_outside, draw_class_sizes, open_dataset

    if output is not None:
        check_outside(open_dataset(spec, 'train'), output)
        check_folder(output)
    screen = console(stderr=True)
    with progress_bar(screen.is_terminal, screen) as bar:
        task = bar.add_task('reading images')
        report = check_data(spec, lambda done, total: bar.update(task, completed=done, total=total))
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / 'report.json', report.to_dict())
        draw_class_sizes(report, output / 'classes.png')
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    return int(bool(report.problems))


def _show(report: DataReport) -> None:
    from fgvc_zoo._errors import plain

    out = console()
    for split, count in report.images.items():
        sizes = sorted((number, name) for name, number in report.classes[split].items())
        official = ', as it should be' if report.expected.get(split) == count else ''
        (fewest, least), (most, largest) = sizes[0], sizes[-1]
        out.print(
            f"{split}: {count:,} images{official}; {len(sizes)} classes of {fewest} ('{plain(least)}') to {most} ('{plain(largest)}')")
    for message in report.unreadable[:SHOWN]:
        out.print(plain(message))
    for pair in report.duplicates[:SHOWN]:
        kind = 'the same file' if pair.exact else 'nearly the same'
        out.print(f"{kind}: {plain(pair.first)} and {plain(pair.second)}{'' if pair.same_class else ', of different classes'}")
    hidden = max(len(report.unreadable) - SHOWN, 0) + max(len(report.duplicates) - SHOWN, 0)
    if hidden:
        out.print(f'and {hidden} more of these: --output FOLDER writes them all')
    for problem in report.problems:
        out.print(f'wrong: {plain(problem)}')
    if not report.problems:
        out.print('nothing is wrong')
