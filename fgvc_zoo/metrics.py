"""Figures of answers, as functions of tensors: accuracies, confusions, calibration error, overlap of boxes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor

BINS = 15  # of the calibration error


def accuracies(logits: Tensor, targets: Tensor) -> dict[str, float]:
    """Top-1, top-5 and mean per-class accuracy in percent.

    Args:
        logits: (N, K); anything that ranks the classes. Of equal ones the first is the predicted class.
        targets: (N,), int64. Classes without an image do not count in the mean.
    """
    right = logits.argmax(1) == targets  # topk takes any of equal ones
    among = right | (logits.topk(min(5, logits.shape[1]), dim=1).indices == targets[:, None]).any(1)
    first = right.double()
    count = torch.bincount(targets, minlength=logits.shape[1])
    correct = torch.bincount(targets, weights=first, minlength=logits.shape[1])
    present = count > 0
    return dict(
        top1=round(100 * first.mean().item(), 3),
        top5=round(100 * among.double().mean().item(), 3),
        mean_per_class=round(100 * (correct[present] / count[present]).mean().item(), 3))


def confusions(targets: Tensor, predicted: Tensor) -> list[tuple[int, int, int]]:
    """The wrong pairs (true class, predicted class, number of images), the most frequent first.

    Args:
        targets: (N,), int64.
        predicted: (N,), int64.
    """
    wrong = predicted != targets
    pairs = Counter(zip(targets[wrong].tolist(), predicted[wrong].tolist(), strict=True))
    return [(true, answer, count) for (true, answer), count in pairs.most_common()]


def confidence_bins(confidence: Tensor) -> Tensor:
    """The bin of each image's highest probability, for the calibration: (N,) int64 in [0, BINS); bin b holds (b / BINS, (b + 1) / BINS].

    Args:
        confidence: (N,), in [0, 1].
    """
    return (confidence * BINS).ceil().long().clamp(1, BINS) - 1


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Expected calibration error in [0, 1]: 15 equal bins of the highest probability, weighted by their images.

    Args:
        probabilities: (N, K), rows sum to 1.
        targets: (N,), int64.
    """
    confidence, predicted = probabilities.max(1)
    correct = (predicted == targets).double()
    gap = torch.zeros(BINS, dtype=torch.double).index_add_(0, confidence_bins(confidence), confidence.double() - correct)
    return (gap.abs().sum() / len(targets)).item()


def view_box(box: Tensor, size: tuple[int, int], cfg: dict[str, Any]) -> Tensor:
    """A box of the photograph in the coordinates of the model's input: the resized, centre-cropped or padded square.

    Args:
        box: (4,), unit xyxy coordinates of the photograph.
        size: Its width and height in pixels.
        cfg: The model's pretrained_cfg: `crop_pct` and `crop_mode` (see `fgvc_zoo.data.eval_transform`).

    Returns:
        (4,), unit xyxy coordinates of the view, clipped to it.
    """
    width, height = (1.0, 1.0) if cfg.get('crop_mode') == 'squash' else size
    shown = max(width, height) if cfg.get('crop_mode') == 'border' else min(width, height)
    side = shown * cfg['crop_pct']
    scale = torch.tensor([width, height, width, height]) / side
    margin = torch.tensor([(width - side) / 2, (height - side) / 2] * 2) / side
    return (box * scale - margin).clamp(0, 1)


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of each box with its partner: (N, 4) and (N, 4), xyxy -> (N,); 0 where both have no area."""
    corners = torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])
    shared = corners.clamp(min=0).prod(1)
    whole = (first[:, 2:] - first[:, :2]).prod(1) + (second[:, 2:] - second[:, :2]).prod(1) - shared
    return torch.where(whole > 0, shared / whole, 0)


def localization(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Overlap of attended boxes with the true ones.

    Args:
        predicted: (N, 4), unit xyxy.
        true: (N, 4), unit xyxy.

    Returns:
        `iou50`: percent of images with a box IoU of at least 0.5; `mean_iou` in [0, 1]; `central_box_iou50`: for comparison, `iou50` of
        centred square boxes with the areas of the predicted ones; `side_correlation`: of the boxes' longer sides with the true ones', in
        [-1, 1], 0 where all are equal.
    """
    area = (predicted[:, 2] - predicted[:, 0]) * (predicted[:, 3] - predicted[:, 1])
    half = area.sqrt() / 2
    central = torch.stack([0.5 - half, 0.5 - half, 0.5 + half, 0.5 + half], 1)
    sides = torch.stack([(boxes[:, 2:] - boxes[:, :2]).amax(1) for boxes in (predicted, true)])
    overlap, reference = paired_iou(predicted, true), paired_iou(central, true)
    return dict(
        iou50=round(100 * (overlap >= 0.5).double().mean().item(), 3), mean_iou=round(overlap.mean().item(), 4),
        central_box_iou50=round(100 * (reference >= 0.5).double().mean().item(), 3),
        side_correlation=round(torch.corrcoef(sides).nan_to_num()[0, 1].item(), 4))
