"""Classify image files in batches, any number of them, and report those that cannot be read."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fgvc_zoo._device import enough_memory
from fgvc_zoo._errors import UserError, check_range, first_line, nearest
from fgvc_zoo.calibration import calibration_of
from fgvc_zoo.data import load_batches, match_classes
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for
from fgvc_zoo.models import CONTRAST_MAPS, Explanation


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
        looks: The most probable classes after each part of the inference, with their probabilities, as `names` and `probabilities` are
            for the whole: by the part's name, in order. Empty for models with a single forward pass, and unless `explain=True`.
        unknown: Whether the photograph probably shows none of the classes. False for a model without
            calibration, and if only some classes come into question.
    """

    path: Path
    names: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    error: str | None = None
    view: Tensor | None = field(default=None, repr=False)
    explanation: Explanation | None = field(default=None, repr=False)
    looks: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
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
        top: Number of classes to return, >= 1; at most the number of classes of the model are.
        batch_size: Images per forward pass, at most; >= 1.
        explain: Keep the view and the explanation. They come from the same forward passes as the prediction.
        classes: Names of the classes that come into question, two at least; None for all. The probabilities are among these.
        workers: Processes that decode images while the model runs; 0 decodes between the forward passes.
        input_size: Side of the model's input in pixels; the size it was trained with if None.
        min_probability: Classes with a lower probability are left out, in [0, 1]. The probabilities of the others do not change.

    Yields:
        A Prediction for each path, in order, as soon as its batch is done.

    Raises:
        UserError: The model does not know one of `classes`, or there are fewer than two; it does not take images of `input_size`, or no
            photographs, or it has no classes; `top`, `batch_size` or `min_probability` is out of range; `paths` is a single one; a
            process that decodes was killed; or the memory is full.
    """
    if isinstance(paths, (str, Path)):
        raise UserError(f"'{paths}' is one path, and predict takes several: give [{str(paths)!r}]")
    check_range('top', top, 1)
    check_range('batch_size', batch_size, 1)
    check_range('min_probability', min_probability, 0, 1)
    names = class_names(model)
    if not names:
        raise UserError('the model has no classes: create it with num_classes')
    chosen = find_classes(names, classes) if classes is not None else list(range(len(names)))
    device = next(model.parameters()).device
    if input_size is not None:
        check_input_size(model, input_size)
    transform = eval_transform_for(model, input_size)
    for paths_of_batch, images, errors in load_batches(paths, transform, batch_size, workers, pin_memory=device.type == 'cuda'):
        found: Iterator[Prediction] = iter(())
        if images is not None:
            read = [Path(path) for index, path in enumerate(paths_of_batch) if index not in errors]
            with enough_memory('a smaller batch'):
                images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
                found = iter(_answers(model, images, read, [names[index] for index in chosen], chosen, top, explain, min_probability))
        for index, path in enumerate(paths_of_batch):
            yield Prediction(Path(path), error=errors[index]) if index in errors else next(found)


def _answers(
        model: TimmModel, images: Tensor, paths: list[Path], names: list[str], chosen: list[int], top: int, explain: bool,
        min_probability: float) -> list[Prediction]:
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

    def best_classes(logits: Tensor) -> list[list[tuple[str, float]]]:
        values, indices = calibration.probabilities(logits if every_class else logits[:, chosen]).topk(min(top, len(chosen)), dim=1)
        return [
            [(names[index], value) for index, value in zip(best, row, strict=True) if value >= min_probability]
            for best, row in zip(indices.tolist(), values.tolist(), strict=True)]

    unknown = (calibration.unknown(logits) & every_class).tolist()
    every_name = class_names(model)
    looks = {name: best_classes(part) for name, part in explanation.looks.items()} if explanation is not None else {}
    return [
        Prediction(
            path, [name for name, _ in best], [value for _, value in best], view=images[row:row + 1] if explain else None,
            explanation=_of_image(explanation, row, every_name, logits[row]), looks={name: part[row] for name, part in looks.items()},
            unknown=unknown[row])
        for row, (path, best) in enumerate(zip(paths, best_classes(logits), strict=True))]


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


def _of_image(explanation: Explanation | None, row: int, names: list[str], logits: Tensor) -> Explanation | None:
    """The explanation of one image, with the names of its most probable classes. Names of all classes, logits (num_classes,)."""
    if explanation is None:
        return None
    first_two = logits.topk(min(2, len(names))).indices.tolist()
    ranks = {title: names[index] for title, index in zip(CONTRAST_MAPS, first_two, strict=False)}
    return explanation._replace(
        maps=explanation.maps[row:row + 1], boxes=explanation.boxes[row:row + 1],
        map_names=[f'for {ranks[name]}' if name in ranks else name for name in explanation.map_names],
        looks={name: part[row:row + 1] for name, part in explanation.looks.items()})
