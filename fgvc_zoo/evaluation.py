"""Measuring a model: accuracies of every pass, localisation, calibration, and the record of a published figure."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from fgvc_zoo._device import enough_memory
from fgvc_zoo._files import sha256
from fgvc_zoo.calibration import Calibration, calibration_of
from fgvc_zoo.data import BalancedSampler, ImageDataset, outlast_signal
from fgvc_zoo.loading import TimmModel
from fgvc_zoo.metrics import accuracies, calibration_error, confusions, localization, view_box
from fgvc_zoo.models import FineGrainedModel
from fgvc_zoo.version import __version__


class Answers(NamedTuple):
    """What a model answered to every image of a data set.

    Attributes:
        scores: Logits or log probabilities (N, K) by the name of the prediction; the model's own answer is 'combined'.
        targets: (N,), int64.
        boxes: Attended objects (N, 4), xyxy in unit coordinates of the model's input; None for a method without one.
        calibration: The model's.
    """

    scores: dict[str, Tensor]
    targets: Tensor
    boxes: Tensor | None
    calibration: Calibration = Calibration()

    @property
    def probabilities(self) -> Tensor:
        """The model's own answers as calibrated probabilities: (N, K) float32, rows sum to 1."""
        return self.calibration.probabilities(self.scores['combined'])

    @property
    def predicted(self) -> Tensor:
        """The predicted classes, (N,) int64: of each image the first of the largest logits, which rounding may make equal probabilities."""
        return self.scores['combined'].argmax(1)


def evaluate(
        model: TimmModel,
        dataset: ImageDataset,
        batch_size: int = 32,
        workers: int = 0,
        device: torch.device | str = 'cpu',
        progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure a model in eval mode: `summarize` of `collect_answers`, which take these arguments."""
    return summarize(collect_answers(model, dataset, batch_size, workers, device, progress), dataset, model.pretrained_cfg)


@torch.inference_mode()
def collect_answers(
        model: TimmModel,
        dataset: ImageDataset | Subset[Any],
        batch_size: int = 32,
        workers: int = 0,
        device: torch.device | str = 'cpu',
        progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Run a model in eval mode over a data set.

    Args:
        model: Any timm classifier, on `device`. One with `forward_passes` answers pass by pass.
        dataset: With the transform that the model expects.
        batch_size: Images a step.
        workers: Processes that load images.
        device: Where the model is.
        progress: Called with (done, total) after each batch.

    Raises:
        UserError: An image cannot be read, or the memory is full.
    """
    model.eval()
    scores: dict[str, list[Tensor]] = {}
    boxes: list[Tensor] = []
    targets: list[Tensor] = []
    loader = DataLoader(dataset, batch_size, num_workers=workers, worker_init_fn=outlast_signal)
    with enough_memory('a smaller batch'):
        for images, labels in loader:
            images = images.to(device, non_blocking=True, memory_format=torch.channels_last)
            if hasattr(model, 'forward_passes'):
                passes = model.forward_passes(images)
                outputs = dict(passes.parts, combined=passes.combined)
                if passes.boxes is not None:
                    boxes.append(passes.boxes.float().cpu())
            else:
                outputs = dict(combined=model(images))
            for name, output in outputs.items():
                scores.setdefault(name, []).append(output.float().cpu())
            targets.append(labels)
            if progress is not None:
                progress(sum(map(len, targets)), len(dataset))
    return Answers(
        {name: torch.cat(parts) for name, parts in scores.items()}, torch.cat(targets), torch.cat(boxes) if boxes else None,
        calibration_of(model))


def summarize(answers: Answers, dataset: ImageDataset, cfg: dict[str, Any]) -> dict[str, Any]:
    """The figures of a model's answers.

    Args:
        answers: From `collect_answers`.
        dataset: What they are about; gives the names of the classes and the true boxes.
        cfg: The model's pretrained_cfg, for the part of each photograph that it sees.

    Returns:
        In percent: `top1`, `top5`, `mean_per_class`; for a model with several predictions the same three for each of them, and, where it
        has boxes and the data set too, `localization` (see there). `nll` and `ece` (0 to 1) of the softmax of its logits, and, for a
        calibrated model, `calibrated` with the same of its probabilities and more (see `calibrated_figures`); `per_class` accuracies by
        name; `correct`, one character an image in the order of the data set, '1' where its class has the highest probability, so that two
        models can be compared image by image; `confusions`, the most frequent wrong pairs.
    """
    scores, targets = answers.scores, answers.targets
    metrics: dict[str, Any] = accuracies(scores['combined'], targets)
    if len(scores) > 1:
        metrics.update({name: accuracies(score, targets) for name, score in scores.items()})
    if answers.boxes is not None and dataset.boxes is not None:
        true_boxes = torch.stack([
            view_box(box, dataset.image_size(index), cfg) for index, box in enumerate(dataset.boxes)])
        metrics['localization'] = localization(answers.boxes, true_boxes)
    probabilities = scores['combined'].softmax(1)  # as every timm model's, whatever its calibration
    metrics['nll'] = nn.functional.nll_loss(scores['combined'].log_softmax(1), targets).item()
    metrics['ece'] = calibration_error(probabilities, targets)
    if answers.calibration.images:
        metrics['calibrated'] = calibrated_figures(answers)
    predicted = answers.predicted
    names = dataset.class_names
    metrics['per_class'] = {
        name: round(100 * (predicted[targets == index] == index).float().mean().item(), 2)
        for index, name in enumerate(names) if (targets == index).any()}
    metrics['correct'] = ''.join('1' if right else '0' for right in (predicted == targets).tolist())
    metrics['confusions'] = [
        dict(true=names[true], predicted=names[answer], count=count) for true, answer, count in confusions(targets, predicted)[:10]]
    return metrics


@torch.inference_mode()
def diagnose(
        task: nn.Module,
        dataset: ImageDataset,
        batch_size: int = 32,
        workers: int = 0,
        device: torch.device | str = 'cpu',
) -> dict[str, float]:
    """A method's health checks on held-out images, in eval mode: the mean of what `task.diagnose(images, targets)` returns.

    Every batch holds two images of each of its classes, in an order drawn once, so that pairs and means over a batch are of many classes;
    images that do not fill a last batch are left out.

    Args:
        task: A training task on `device`; one without `diagnose` gives nothing.
        dataset: With the transform that the model expects, and at least two images.
        batch_size: Images a step, at most; even.
        workers: Processes that load images.
        device: Where the task is.
    """
    check: Any = getattr(task, 'diagnose', None)
    if check is None:
        return {}
    task.eval()
    batch_size = min(batch_size, 2 * len(set(dataset.targets)), len(dataset) // 2 * 2)
    loader = DataLoader(dataset, batch_size, sampler=BalancedSampler(dataset.targets, batch_size, 2), num_workers=workers)
    sums: dict[str, float] = {}
    for images, targets in loader:
        values = check(images.to(device, memory_format=torch.channels_last), targets.to(device))
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    return {name: round(value / len(loader), 5) for name, value in sums.items()}


def parts_of(metrics: dict[str, Any]) -> list[str]:
    """Names of the predictions that `evaluate` measured one by one, 'combined' last; none for a model with a single pass."""
    return [name for name, value in metrics.items() if name != 'per_class' and isinstance(value, dict) and 'top1' in value]


def calibrated_figures(answers: Answers) -> dict[str, Any]:
    """What a calibration does to a model's answers.

    Returns:
        `temperature`, `threshold` and `images` of the calibration; `nll` and `ece` (0 to 1) of the calibrated probabilities; `kept`:
        percent of the images that the threshold keeps.
    """
    return dict(
        asdict(answers.calibration), nll=answers.calibration.nll(answers.scores['combined'], answers.targets),
        ece=calibration_error(answers.probabilities, answers.targets), kept=round(100 - unknown(answers), 3))


def unknown(answers: Answers) -> float:
    """Percent of the images that seem to show none of the classes."""
    return 100 * answers.calibration.unknown(answers.scores['combined']).double().mean().item()


def data_name(dataset: ImageDataset) -> str:
    """What a result calls its data: the name of a published data set, else that of the folder."""
    return dataset.name if dataset.info.citation else Path(os.path.abspath(dataset.root)).name


def method_and_backbone(model: TimmModel, task: str | None) -> tuple[str, str]:
    """What a result says of a model's method and backbone.

    Args:
        model: Any timm model.
        task: The training task; None if it is not known.

    Returns:
        'baseline' if that was the task, else the model's method, '' if it has none; the backbone's architecture.
    """
    fine_grained = isinstance(model, FineGrainedModel)
    method = 'baseline' if task == 'baseline' else model.method if fine_grained else ''
    return method, model.backbone_name if fine_grained else model.pretrained_cfg['architecture']


def result_record(
        model: str,
        method: str,
        backbone: str,
        data: str,
        split: str,
        seed: int,
        input_size: int,
        epochs: int,
        metrics: dict[str, Any],
        command: str,
        recipe: dict[str, Any],
        weights: Path | None,
        seconds: float,
        device: str = 'cpu',
) -> dict[str, Any]:
    """A published figure: what was measured, on what, how, and with which weights."""
    versions = dict(
        fgvc_zoo=__version__, torch=torch.__version__, timm=timm.__version__, python=platform.python_version(), device=device)
    return dict(
        model=model, method=method, backbone=backbone, data=data, split=split, seed=seed, input_size=input_size, epochs=epochs,
        metrics=metrics, command=command, recipe=recipe, versions=versions, weights_sha256=sha256(weights) if weights else '',
        seconds=round(seconds, 1))
