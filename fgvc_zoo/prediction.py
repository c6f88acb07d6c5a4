"""Names for photographs: batches of good images are answered, bad ones are reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from fgvc_zoo.data import ImageError, load_image
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for


@dataclass(frozen=True)
class Prediction:
    """The answer for one file.

    Attributes:
        path: The file.
        names: The best class names, best first; empty if the file could not be read.
        probabilities: Theirs, in [0, 1].
        error: Why the file could not be read, in one sentence; else None.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    error: str | None = None


@torch.inference_mode()
def predict(
        model: TimmModel, paths: Sequence[str | Path], top: int = 5, batch_size: int = 16) -> Iterator[Prediction]:
    """Classify image files.

    Args:
        model: From `load_model`.
        paths: Image files.
        top: How many names to give, at most the number of classes.
        batch_size: Images a step.

    Yields:
        A Prediction for each path, in order, as soon as its batch is done.
    """
    names, transform = class_names(model), eval_transform_for(model)
    device = next(model.parameters()).device
    todo = iter(paths)
    while batch := list(islice(todo, batch_size)):
        tensors: list[Tensor] = []
        errors: dict[int, str] = {}
        for index, path in enumerate(batch):
            try:
                tensors.append(transform(load_image(path)))
            except ImageError as error:
                errors[index] = str(error)
        if tensors:
            batched = torch.stack(tensors).to(device, memory_format=torch.channels_last)
            best = model(batched).float().softmax(1).topk(min(top, len(names)), dim=1)
            answers = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        for index, path in enumerate(batch):
            if index in errors:
                yield Prediction(Path(path), error=errors[index])
            else:
                probabilities, indices = next(answers)
                yield Prediction(Path(path), [names[i] for i in indices], probabilities)
