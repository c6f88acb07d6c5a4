"""What one run is: everything that `train` is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fgvc_zoo.recipes import Recipe


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes:
        model: Registered name: one of this zoo's, or any timm model with the recipe 'baseline'.
        data: 'cub200:PATH', 'grocery:PATH', 'folder:PATH' or a path.
        output: The run folder.
        recipe: Hyper-parameters.
        seed: Fixes everything random.
        train_split: Split to train on; 'fit' leaves a fifth of the training split out.
        eval_split: Split to measure after every `eval_every` epochs; None measures nothing. Use 'holdout' to choose settings, never 'test'.
        eval_every: In epochs.
        pretrained_backbone: True for timm's ImageNet weights, False for none, or the path of a safetensors file with timm's keys.
        workers: Processes that load images.
        cache: Keep decoded images in memory; None does so where they fit.
        resume: Go on from the run folder's checkpoint.
        device: 'cpu', 'cuda', ...; None takes what there is.
        amp: 'bf16', 'fp16' or None.
        progress: Show a progress bar.
        command: The command line, for the record.
    """

    model: str
    data: str
    output: str
    recipe: Recipe
    seed: int = 0
    train_split: str = 'train'
    eval_split: str | None = None
    eval_every: int = 1
    pretrained_backbone: bool | str = True
    workers: int = 2
    cache: bool | None = None
    resume: bool = False
    device: str | None = None
    amp: str | None = None
    progress: bool = True
    command: str = ''

    def identity(self) -> dict[str, Any]:
        """What must be equal for a run to go on."""
        return dict(model=self.model, recipe=self.recipe.to_dict(), seed=self.seed, train_split=self.train_split)
