"""Probabilities that mean what they say: a temperature for the logits, and what tells photographs of the classes from others.

Both are fitted on photographs that training did not see. They change neither the order of the classes nor the logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from fgvc_zoo._errors import UserError, check_range

# Of the photographs held back, which the threshold keeps. They resemble those of the training more than later ones do, of which it should
# keep 95 %.
KEPT = 0.99
TOO_FEW = ('these photographs are too few for a threshold, so the model never says that a photograph shows none of its classes: hold at '
           'least 99 back')
_RANGE = (-5.0, 5.0)  # of the logarithm of the temperature
_STEPS = 60  # of the search, each of which leaves 0.62 of the interval


@dataclass(frozen=True)
class Calibration:
    """What was fitted for one checkpoint.

    Attributes:
        temperature: Divides the logits before the softmax, > 0 (Guo et al., arXiv 1706.04599). Below 1 it sharpens.
        threshold: Photographs whose `familiarity` is below it probably show none of the classes, in [0, 1].
        images: How many photographs both were fitted on; 0 if they were not fitted.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    images: int = 0

    def __post_init__(self) -> None:
        for name, high, exclude in (('temperature', math.inf, (0, math.inf)), ('threshold', 1, ()), ('images', math.inf, (math.inf,))):
            check_range(f'the {name} of a calibration', getattr(self, name), 0, high, exclude)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits or log probabilities (..., K) -> probabilities (..., K), float32."""
        return (logits.float() / self.temperature).softmax(-1)

    def nll(self, logits: Tensor, targets: Tensor) -> float:
        """Mean negative log-likelihood, >= 0. It is finite even where a probability rounds to 0.

        Args:
            logits: Logits or log probabilities (N, K).
            targets: (N,), int64.
        """
        return abs(F.cross_entropy(logits.double() / self.temperature, targets).item())

    def unknown(self, logits: Tensor) -> Tensor:
        """Whether photographs probably show none of the classes: logits or log probabilities (N, K) -> (N,) bool."""
        return familiarity(logits) < self.threshold


def familiarity(logits: Tensor) -> Tensor:
    """How much a photograph looks like one of the classes: logits or log probabilities (N, K) -> (N,) float32, in (0, 1].

    It is the sum of the highest probabilities, before any temperature: of a tenth of the classes, one to ten of them. A photograph
    of one of two similar classes may have a low highest probability, as a photograph of something else has, but the sum is high.
    """
    count = max(1, min(10, logits.shape[1] // 10))
    return logits.float().softmax(1).topk(count, dim=1).values.sum(1)


def read_calibration(values: Any) -> Calibration:
    """A calibration from JSON or YAML; an uncalibrated one from None.

    Raises:
        UserError: It is none.
    """
    if values is None:
        return Calibration()
    if not isinstance(values, dict) or set(values) != {item.name for item in fields(Calibration)}:
        raise UserError(f'a calibration has the entries temperature, threshold and images, not {values!r}')
    return Calibration(**values)


def calibration_of(model: Any) -> Calibration:
    """The calibration of a loaded model; an uncalibrated one for a model without."""
    return getattr(model, 'calibration', None) or Calibration()


def fit_calibration(logits: Tensor, targets: Tensor) -> Calibration:
    """Fit a temperature, and the threshold that keeps 99 % of the photographs.

    Args:
        logits: Logits or log probabilities (N, K) of photographs that training did not see, N >= 1.
        targets: Their classes (N,), int64.

    Raises:
        UserError: There are no photographs.
    """
    if not len(targets):
        raise UserError('a calibration needs photographs that training did not see, and there are none')
    known = familiarity(logits).sort().values
    left_out = math.floor((1 - KEPT) * (len(targets) + 1))  # as many that a further photograph is kept with this probability
    threshold = known[left_out - 1].item() if left_out else 0.0
    threshold = min(math.floor(1e4 * threshold), 9999) / 1e4  # below 1, which a photograph reaches by rounding only
    return Calibration(fit_temperature(logits, targets), threshold, len(targets))


def fit_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature with the least mean cross-entropy, rounded to four digits, in [0.0067, 148].

    The targets are softened by 1 / (N + 2), as Platt's are (Advances in Large Margin Classifiers, 1999): N answers that are all right do
    not mean that no other will ever be wrong, and would otherwise be sharpened without end. The cross-entropy is convex in the
    temperature's inverse, so it has a single minimum, which a golden-section search finds.

    Args:
        logits: (N, K), N >= 1.
        targets: (N,), int64.
    """
    exact = logits.double()

    def loss(place: float) -> float:
        return F.cross_entropy(exact / math.exp(place), targets, label_smoothing=1 / (len(targets) + 2)).item()

    ratio = (math.sqrt(5) - 1) / 2
    low, high = _RANGE
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_STEPS):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = loss(right)
    return round(math.exp((low + high) / 2), 4)
