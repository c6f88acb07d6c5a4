"""What happened in a run: one row an epoch as CSV, TensorBoard scalars, and a picture of the curves."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from fgvc_zoo._files import atomic_write


class History:
    """Rows of numbers, one an epoch, kept in step with the files of a run folder.

    Args:
        folder: The run folder.
        rows: Rows of earlier epochs, when a run is resumed. The files are rewritten from them, so that epochs that a killed
            run finished after its last checkpoint do not appear twice.
    """

    def __init__(self, folder: Path, rows: list[dict[str, Any]] | None = None) -> None:
        self.folder = folder
        self.rows = list(rows or [])
        self._writer: Any = None

    def add(self, row: dict[str, Any]) -> None:
        """Take one epoch's row and bring every file up to date."""
        self.rows.append(row)
        self.write_csv()
        self._write_tensorboard(row)
        self.write_curves()

    def write_csv(self) -> None:
        """history.csv, with every column that any row has."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))

        def write(path: Path) -> None:
            with open(path, 'w', newline='', encoding='utf-8') as file:
                writer = csv.DictWriter(file, columns, restval='')
                writer.writeheader()
                writer.writerows(self.rows)

        atomic_write(self.folder / 'history.csv', write)

    def _write_tensorboard(self, row: dict[str, Any]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # purge_step hides what a killed run had written for this and later epochs
            self._writer = SummaryWriter(str(self.folder / 'tensorboard'), purge_step=row['epoch'])
        for key, value in row.items():
            if isinstance(value, (int, float)) and key != 'epoch':
                self._writer.add_scalar(key, value, row['epoch'])
        self._writer.flush()

    def write_curves(self) -> None:
        """curves.png: the losses, the accuracies and the learning rate against the epoch."""
        from matplotlib.figure import Figure  # unlike pyplot, it leaves a notebook's settings alone
        from matplotlib.ticker import MaxNLocator

        epochs = [row['epoch'] for row in self.rows]
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        panels = {
            'loss': [key for key in columns if key == 'loss' or key.startswith('loss_')],
            'accuracy, %': [key for key in columns if key.endswith('top1')],
            'learning rate': ['lr'],
        }
        panels = {title: keys for title, keys in panels.items() if keys}
        measured = [key.removesuffix('_top1') for key in columns if key.endswith('_top1') and key != 'train_top1']
        split = min(measured, key=len, default='')  # the others are of its parts
        figure = Figure(figsize=(5 * len(panels), 3.6))
        axes = figure.subplots(1, len(panels), squeeze=False)
        for axis, (title, keys) in zip(axes[0], panels.items(), strict=True):
            for key in keys:
                axis.plot(epochs, [row.get(key, float('nan')) for row in self.rows], marker='.', label=_name(key, split))
            axis.set_xlabel('epoch')
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.set_title(title)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
        figure.tight_layout()
        atomic_write(self.folder / 'curves.png', lambda path: figure.savefig(path, format='png', dpi=110))


def _name(column: str, split: str) -> str:
    """A column of the history for people: 'loss_raw' is 'raw', 'train_top1' is 'training', 'holdout_raw_top1' is 'holdout, raw'.

    Args:
        column: The column.
        split: The split that is measured; '' for none.
    """
    if column.startswith('loss_'):
        return column.removeprefix('loss_').replace('_', ' ')
    if column == 'train_top1' or not column.endswith('_top1'):
        return dict(train_top1='training', lr='rate of the backbone', loss='sum').get(column, column)
    part = column.removesuffix('_top1').removeprefix(split).lstrip('_')
    return ', '.join(filter(None, [split.replace('_', ' '), part]))
