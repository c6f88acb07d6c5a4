"""A model's answers to a data set, with a progress bar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fgvc_zoo_cli._terminal import console

if TYPE_CHECKING:
    from fgvc_zoo.data import ImageDataset
    from fgvc_zoo.evaluation import Answers
    from fgvc_zoo.loading import TimmModel


def collect(model: TimmModel, dataset: ImageDataset, title: str, batch_size: int, workers: int) -> Answers:
    """`fgvc_zoo.evaluation.collect_answers`, on the model's device.

    Args:
        model: From `load_model`.
        dataset: With the model's transform.
        title: What the bar is called.
        batch_size: Images a step.
        workers: Processes that load images.
    """
    from fgvc_zoo._progress import progress_bar
    from fgvc_zoo.evaluation import collect_answers

    err = console(stderr=True)
    with progress_bar(err.is_terminal, err) as bar:
        task = bar.add_task(title, total=len(dataset))
        return collect_answers(
            model, dataset, batch_size, workers, next(model.parameters()).device, lambda done, _: bar.update(task, completed=done))


def trained_on(model: str, split: str) -> str | None:
    """The split that a run was trained on, if it has photographs of another one: of 'train' and 'fit', or of 'train' and 'holdout'.

    Args:
        model: As `load_model` takes it. Only the folder of a run knows.
        split: The split that is measured.
    """
    from fgvc_zoo.data import TUNING_SPLITS

    run = Path(model.removeprefix('local-dir:')) / 'run.json'
    if not run.is_file():
        return None
    own = json.loads(run.read_text(encoding='utf-8'))['config']['train_split']
    fit, holdout = TUNING_SPLITS
    shared = own == split or (split == holdout and own != fit) or {own, split} == {'train', fit}
    return own if shared else None
