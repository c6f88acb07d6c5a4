"""A model's answers to a data set, with a progress bar."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def trained_on(model: str, data: str, dataset: ImageDataset) -> str | None:
    """The split that a run was trained on, if photographs that are measured are among those of it.

    Data that are in another place than those of the training, and have other photographs in that split, are other data.

    Args:
        model: As `load_model` takes it. Only the folder of a run knows.
        data: As `open_dataset` takes it.
        dataset: What is measured, a split of these data.

    Raises:
        UserError: The record of the run is damaged.
    """
    from fgvc_zoo._errors import UserError
    from fgvc_zoo.data import open_dataset
    from fgvc_zoo.run_record import fingerprint

    record = training_record(model)
    if record is None:
        return None
    own: str = record['config']['train_split']
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # those are about training, which is over
            trained = open_dataset(data, own)
    except UserError:  # it was trained on other data, which had such a split
        return None
    place = str(record['config'].get('data', '')).rpartition(':')[2]
    moved = Path(place).expanduser().resolve() != Path(trained.root).resolve()
    if moved and record.get('fingerprint') not in (None, fingerprint(trained)):
        return None
    return own if trained.shared(dataset) else None


def training_record(model: str) -> dict[str, Any] | None:
    """What the folder of a run says of its training; None for any other model.

    Raises:
        UserError: The record of the run is damaged.
    """
    from fgvc_zoo.run_record import read_run_record

    return read_run_record(Path(model.removeprefix('local-dir:')), 'train_split')
