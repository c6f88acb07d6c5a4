"""A model's answers to a data set, with a progress bar."""

from __future__ import annotations

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
