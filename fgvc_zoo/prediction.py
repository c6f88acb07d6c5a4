"""Classify image files in batches, any number of them, and report those that cannot be read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fgvc_zoo._errors import UserError, check_range, first_line, nearest
from fgvc_zoo.calibration import calibration_of
from fgvc_zoo.data import load_batches, match_classes
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for
from fgvc_zoo.models import Explanation


@dataclass(frozen=True)
class Prediction:
    """The prediction for one file.

    Attributes:
        path: The file.
        names: The most probable classes, best first; empty if the file could not be read, or no class is probable enough.
        probabilities: Their probabilities, in [0, 1], calibrated if the model is.
        error: Why the file could not be read, in one sentence; None if it could.
        view: The normalised input (1, 3, S, S); None unless `predict` was called with `explain=True`.
        explanation: The attention maps and boxes of the view; None unless `explain=True` and the model has `explain`.
        unknown: Whether the photograph probably shows none of the classes. False for a model without
            calibration, and if only some classes come into question.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    error: str | None = None
    view: Tensor | None = None
    explanation: Explanation | None = None
    unknown: bool = False


@torch.inference_mode()
def predict(
        model: TimmModel, paths: Iterable[str | Path], top: int = 5, batch_size: int = 16,
        explain: bool = False, classes: Sequence[str] | None = None, workers: int = 0, input_size: int | None = None,
        min_probability: float = 0) -> Generator[Prediction, None, None]:
    """Classify image files. The memory does not grow with their number.

    Args:
        model: From `load_model`.
        paths: Image files. Of an iterable that is no sequence, paths are read as they come, in a thread, and each is answered without
            waiting for the next one; see `load_batches`.
        top: Number of classes to return, at most the number of classes of the model.
        batch_size: Images per forward pass, at most.
        explain: Keep the view and the explanation. They come from the same forward passes as the prediction.
        classes: Names of the classes that come into question, two at least; None for all. The probabilities are among these.
        workers: Processes that decode images while the model runs; 0 decodes between the forward passes.
        input_size: Side of the model's input in pixels; the size it was trained with if None.
        min_probability: Classes with a lower probability are left out, in [0, 1]. The probabilities of the others do not change.

    Yields:
        A Prediction for each path, in order, as soon as its batch is done.

    Raises:
        UserError: The model does not know one of `classes`, or there are fewer than two; it does not take images of `input_size`;
            `min_probability` is out of range; or a process that decodes was killed.
    """
    check_range('min_probability', min_probability, 0, 1)
    names = class_names(model)
    chosen = find_classes(names, classes) if classes is not None else list(range(len(names)))
    device = next(model.parameters()).device
    if input_size is not None:
        check_input_size(model, input_size)
    transform = eval_transform_for(model, input_size)
    for paths_of_batch, images, errors in load_batches(paths, transform, batch_size, workers, pin_memory=device.type == 'cuda'):
        found: Iterator[Prediction] = iter(())
        if images is not None:
            read = [Path(path) for index, path in enumerate(paths_of_batch) if index not in errors]
            images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
            found = _answers(model, images, read, [names[index] for index in chosen], chosen, top, explain, min_probability)
        for index, path in enumerate(paths_of_batch):
            yield Prediction(Path(path), error=errors[index]) if index in errors else next(found)


def _answers(
        model: TimmModel, images: Tensor, paths: list[Path], names: list[str], chosen: list[int], top: int, explain: bool,
        min_probability: float) -> Iterator[Prediction]:
    """The predictions for a batch.

    Args:
        model: The model.
        images: (N, 3, S, S), normalised.
        paths: The N files.
        names: Names of the chosen classes.
        chosen: Their indices.
        top: Number of classes of a prediction, at most.
        explain: Keep the view and the explanation.
        min_probability: Smallest probability of a class of a prediction.
    """
    explanation = None
    if explain and hasattr(model, 'forward_explained'):
        logits, explanation = model.forward_explained(images)
    else:
        logits = model(images)
    calibration, every_class = calibration_of(model), len(chosen) == logits.shape[1]
    values, indices = calibration.probabilities(logits if every_class else logits[:, chosen]).topk(min(top, len(chosen)), dim=1)
    unknown = calibration.unknown(logits) & every_class
    rows = zip(paths, values.tolist(), indices.tolist(), unknown.tolist(), strict=True)
    for row, (path, probabilities, best, is_unknown) in enumerate(rows):
        count = sum(probability >= min_probability for probability in probabilities)  # they fall
        yield Prediction(
            path, [names[index] for index in best[:count]], probabilities[:count], view=images[row:row + 1] if explain else None,
            explanation=_of_image(explanation, row), unknown=is_unknown)


def check_input_size(model: TimmModel, size: int) -> None:
    """Raise a UserError unless the model takes square images of `size` pixels. Runs it once."""
    check_range('the input size', size, 16, 4096)
    own = model.pretrained_cfg['input_size'][-1]
    if size == own:
        return
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 3, size, size, device=device))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UserError(f'the model does not take images of {size} px ({first_line(error)}); it was trained with {own} px') from error


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
