"""Write the page and the predictions of a measurement."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fgvc_zoo._files import atomic_write, check_folder, write_text
from fgvc_zoo._pages import check_page, render
from fgvc_zoo.data import ImageDataset
from fgvc_zoo.evaluation import Answers, parts_of
from fgvc_zoo.metrics import BINS, confusions
from fgvc_zoo.report.labels import suspect_labels
from fgvc_zoo.report.measures import Pairs, adjacent_order, class_rows, confused_classes, confusion_matrix, coverage, reliability
from fgvc_zoo.report.pictures import Photo, photo_of

PAGE = 'report.html'
PREDICTIONS = 'predictions.csv'
COLUMNS = ('path', 'true', 'predicted', 'probability')
_MATRIX_CLASSES = 40  # as many rows and columns as are legible at 1200 pixels
_PAIRS = 12
_SUSPECTS = 24
_CURVE_POINTS = 300


@dataclass(frozen=True)
class PairExample:
    """A wrong pair of classes with photographs.

    Attributes:
        true, predicted: Names of the classes.
        count: Images of the true class that are predicted as the other.
        images: All images of the true class.
        mistaken: The one of them with the highest probability of the predicted class.
        probability: That probability, in [0, 1].
        other: The right image of the predicted class with the highest probability, or else one of its images; None if the data have none.
    """

    true: str
    predicted: str
    count: int
    images: int
    mistaken: Photo
    probability: float
    other: Photo | None


def check_report_folder(folder: Path) -> None:
    """Make the folder of a report and check that the files can be written there, before the measuring begins.

    Raises:
        UserError: They cannot, or one of them exists and is no file of a report.
    """
    check_folder(folder)
    check_page(folder / PAGE)
    check_page(folder / PREDICTIONS, ','.join(COLUMNS))


def write_report(folder: Path, record: dict[str, Any], answers: Answers, dataset: ImageDataset) -> Path:
    """Write `report.html`, which needs no other file, and `predictions.csv`, one row an image.

    Args:
        folder: Where to; missing folders are created, a report that is there is replaced.
        record: The result of `fgvc-zoo evaluate`: see `result_record`, and `DataInfo.reference`.
        answers: What the metrics of the record were computed from.
        dataset: What the answers are about, at least one image; gives the names of the classes and the photographs.

    Returns:
        The page.

    Raises:
        UserError: A photograph cannot be read, or a file cannot be written; a file that was there before is kept.
    """
    probabilities, targets = answers.probabilities, answers.targets
    confidence, predicted = probabilities.amax(1), answers.predicted
    pairs = confusions(targets, predicted)
    suspects = suspect_labels(probabilities, targets)
    names = dataset.class_names
    curve = coverage(confidence, predicted == targets)
    metrics = record['metrics']
    page = render(
        Path(__file__).parent, 'page.html.jinja', record=record, metrics=metrics,
        shown=metrics.get('calibrated', metrics),  # ece and nll of the probabilities on the page
        images=len(targets), parts=parts_of(metrics), names=names, bins_total=BINS,
        matrix=_matrix(targets, predicted, pairs), classes=class_rows(targets, pairs),
        pairs=[_example(pair, probabilities, predicted, targets, dataset) for pair in pairs[:_PAIRS]],
        wrong=int((predicted != targets).sum()), bins=reliability(confidence, predicted == targets), coverage=curve,
        points=_thinned(curve.share, curve.accuracy), suspects=[(item, photo_of(dataset, item.index)) for item in suspects[:_SUSPECTS]],
        suspect_total=len(suspects), targets=targets.tolist(), trained_on=record['split'] in ('train', 'fit', 'train_only'))
    _write_predictions(folder / PREDICTIONS, dataset, targets, predicted, confidence)
    write_text(folder / PAGE, page)
    return folder / PAGE


def _matrix(targets: Tensor, predicted: Tensor, pairs: Pairs) -> dict[str, Any]:
    """The confusion matrix of all classes, or of those most confused if they are many."""
    present = sorted({*targets.tolist(), *predicted.tolist()})
    everything = len(present) <= _MATRIX_CLASSES
    classes = adjacent_order(present if everything else confused_classes(pairs, _MATRIX_CLASSES), pairs)
    counts = confusion_matrix(targets, predicted, classes)
    sizes = torch.bincount(targets, minlength=max(present) + 1).tolist()
    return dict(classes=classes, counts=counts, sizes=sizes, everything=everything, total=len(present),
                wrong=sum(map(sum, counts)) - sum(row[index] for index, row in enumerate(counts)))


def _example(
        pair: tuple[int, int, int], probabilities: Tensor, predicted: Tensor, targets: Tensor, dataset: ImageDataset) -> PairExample:
    names = dataset.class_names
    true, answer, count = pair
    mistaken = _best((targets == true) & (predicted == answer), probabilities[:, answer])
    other = _best((targets == answer) & (predicted == answer), probabilities[:, answer])
    if other is None:
        other = _best(targets == answer, probabilities[:, answer])
    assert mistaken is not None  # the pair was counted
    return PairExample(
        names[true], names[answer], count, int((targets == true).sum()), photo_of(dataset, mistaken),
        probabilities[mistaken, answer].item(), photo_of(dataset, other) if other is not None else None)


def _best(chosen: Tensor, values: Tensor) -> int | None:
    """The index of the highest value where `chosen` is true; None if it is nowhere."""
    return int(values.where(chosen, -1).argmax()) if chosen.any() else None


def _thinned(x: Tensor, y: Tensor) -> list[tuple[float, float]]:
    """Points of a curve, evenly spaced in their number where there are more than a chart needs; the first and the last are kept."""
    places = torch.linspace(0, len(x) - 1, min(len(x), _CURVE_POINTS)).round().long().unique()
    return list(zip(x[places].tolist(), y[places].tolist(), strict=True))


def _write_predictions(path: Path, dataset: ImageDataset, targets: Tensor, predicted: Tensor, confidence: Tensor) -> None:
    names = dataset.class_names

    def write(part: Path) -> None:
        # backslashreplace: bytes of a file name that are not UTF-8 become escapes such as \udcff
        with open(part, 'w', newline='', encoding='utf-8', errors='backslashreplace') as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for key, true, answer, probability in zip(
                    dataset.keys, targets.tolist(), predicted.tolist(), confidence.tolist(), strict=True):
                writer.writerow([key, names[true], names[answer], f'{probability:.6f}'])

    atomic_write(path, write)
