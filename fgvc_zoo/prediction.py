"""Classify image files in batches, and report those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo.data import ImageError, load_image, match_classes
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for
from fgvc_zoo.models import Explanation


@dataclass(frozen=True)
class Prediction:
    """The prediction for one file.

    Attributes:
        path: The file.
        names: The most probable classes, best first; empty if the file could not be read.
        probabilities: Their probabilities, in [0, 1].
        error: Why the file could not be read, in one sentence; None if it could.
        view: The normalised input (1, 3, S, S); None unless `predict` was called with `explain=True`.
        explanation: The attention maps and boxes of the view; None unless `explain=True` and the model has `explain`.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    error: str | None = None
    view: Tensor | None = None
    explanation: Explanation | None = None


@torch.inference_mode()
def predict(
        model: TimmModel, paths: Sequence[str | Path], top: int = 5, batch_size: int = 16,
        explain: bool = False, classes: Sequence[str] | None = None) -> Iterator[Prediction]:
    """Classify image files.

    Args:
        model: From `load_model`.
        paths: Image files.
        top: Number of classes to return, at most the number of classes of the model.
        batch_size: Images per forward pass.
        explain: Keep the view and the explanation. They come from the same forward passes as the prediction.
        classes: Names of the classes that come into question, two at least; None for all. The probabilities are among these.

    Yields:
        A Prediction for each path, in order, as soon as its batch is done.

    Raises:
        UserError: The model does not know one of `classes`, or there are fewer than two.
    """
    names, transform = class_names(model), eval_transform_for(model)
    chosen = find_classes(names, classes) if classes is not None else list(range(len(names)))
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
            explanation = None
            if explain and hasattr(model, 'forward_explained'):
                logits, explanation = model.forward_explained(batched)
            else:
                logits = model(batched)
            scores = logits if classes is None else logits[:, chosen]
            best = scores.float().softmax(1).topk(min(top, len(chosen)), dim=1)
        for index, path in enumerate(batch):
            if index in errors:
                yield Prediction(Path(path), error=errors[index])
            else:
                row = index - sum(error < index for error in errors)  # in the batch of good images
                yield Prediction(
                    Path(path), [names[chosen[i]] for i in best.indices[row].tolist()], best.values[row].tolist(),
                    view=batched[row:row + 1] if explain else None, explanation=_of_image(explanation, row))


def find_classes(known: list[str], names: Sequence[str]) -> list[int]:
    """The indices of classes by name, in the order of the known ones.

    Raises:
        UserError: One is not known, or there are fewer than two.
    """
    found = match_classes(names, known)
    for name, index in zip(names, found, strict=True):
        if index is None:
            raise UserError(f"the model does not know the class '{name}'{nearest(name, known)}")
    indices = sorted({index for index in found if index is not None})
    if len(indices) < 2:
        raise UserError(f"the model needs two classes at least to choose from, not {len(indices)}")
    return indices


def _of_image(explanation: Explanation | None, row: int) -> Explanation | None:
    if explanation is None:
        return None
    return explanation._replace(maps=explanation.maps[row:row + 1], boxes=explanation.boxes[row:row + 1])
