"""Running means of an epoch's steps, and what they say."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field


@dataclass
class Meters:
    """Running sums of one epoch, kept in the checkpoint.

    Attributes:
        sums: Of each step's loss and its parts, and of its accuracy in percent ('correct').
        steps: How many steps.
        seconds: How long they took.
    """

    sums: dict[str, float] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0

    def add(self, parts: dict[str, float]) -> None:
        """Take the values of one step."""
        for key, value in parts.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.steps += 1

    def means(self) -> dict[str, float]:
        """The mean of each value over the steps."""
        return {key: value / max(self.steps, 1) for key, value in self.sums.items()}

    def rate(self, images_per_step: int) -> float:
        """Images a second."""
        return self.steps * images_per_step / max(self.seconds, 1e-9)

    def brief(self, images_per_step: int) -> str:
        """The loss and the rate, for a line of 80 columns."""
        return f"loss {self.means().get('loss', 0.0):.3f} {self.rate(images_per_step):.0f} images/s"

    def describe(self, images_per_step: int) -> str:
        """The means and the rate in one line."""
        means = self.means()
        accuracy = means.pop('correct', 0.0)
        parts = ' '.join(f'{key} {value:.3f}' for key, value in means.items())
        return f'{parts} acc {accuracy:.1f} % {self.rate(images_per_step):.0f} images/s'


def warn_at_chance(accuracy: float, classes: int, steps: int, batch_size: int) -> None:
    """Warn if the training accuracy of the first epoch could be that of guessing.

    Args:
        accuracy: In percent.
        classes: Number of classes; with a single one nothing is said.
        steps: Training steps of the epoch; with fewer than ten nothing is said, since the learning rate is still rising.
        batch_size: Images a step; with fewer than ten a class in the epoch nothing is said.
    """
    images = steps * batch_size
    if classes < 2 or steps < 10 or images < 10 * classes:
        return
    guess = 1 / classes
    likely = 100 * (guess + 3 * math.sqrt(guess * (1 - guess) / images))
    if accuracy < likely:
        warnings.warn(
            f'after the first epoch the training accuracy is {accuracy:.1f} %, no better than guessing among {classes} classes: if it '
            'stays there, change the learning rates (lr, head_lr_scale, new_lr_scale) or check the labels', stacklevel=2)
