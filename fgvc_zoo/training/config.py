"""What one run is: everything that `train` is told."""

from __future__ import annotations

from dataclasses import dataclass

from fgvc_zoo._errors import UserError, check_choice, check_range
from fgvc_zoo.recipes import Recipe


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    Attributes:
        model: Registered name: one of this zoo's, or any timm model with the recipe 'baseline'. Or trained weights to start from, with a
            new classifier: a name of this zoo with a tag, a folder, 'hf-hub:ORG/NAME'.
        data: 'NAME:PATH' or a path (see `fgvc_zoo.data.open_dataset`).
        output: The run folder.
        recipe: Hyper-parameters.
        seed: Fixes everything random.
        train_split: Split to train on; 'fit' leaves a fifth of the training split out.
        eval_split: Split to measure after every `eval_every` epochs; None measures nothing. Use 'holdout' to choose settings, never 'test'.
        eval_every: In epochs.
        save_every: Epochs between models that are saved before the end; 0 for none. A run that is stopped leaves one too.
        keep_best: Keep the model of the epoch with the best top-1 on `eval_split` too, which then must not be 'test'.
        pretrained_backbone: True for timm's ImageNet weights, False for none, or the path of a safetensors file with timm's keys.
        workers: Processes that load images.
        cache: Keep decoded images in memory; None does so where they fit.
        resume: Go on from the run folder's checkpoint.
        accept_changes: Go on although the images of the classes or the precision are not those of the checkpoint.
        device: 'cpu', 'cuda', ...; None takes what there is.
        amp: 'bf16', 'fp16' or None.
        progress: Show a progress bar.
        command: The command line, for the record.

    Raises:
        UserError: A value is out of range.
    """

    model: str
    data: str
    output: str
    recipe: Recipe
    seed: int = 0
    train_split: str = 'train'
    eval_split: str | None = None
    eval_every: int = 1
    save_every: int = 0
    keep_best: bool = False
    pretrained_backbone: bool | str = True
    workers: int = 2
    cache: bool | None = None
    resume: bool = False
    accept_changes: bool = False
    device: str | None = None
    amp: str | None = None
    progress: bool = True
    command: str = ''

    @property
    def measured(self) -> str | None:
        """What the history calls the split that is measured. 'train' there is the accuracy on the augmented images of an epoch."""
        return 'train_split' if self.eval_split == 'train' else self.eval_split

    def __post_init__(self) -> None:
        check_range('seed', self.seed, 0, 2**32 - 1)
        check_range('workers', self.workers, 0, 1024)
        check_range('eval_every', self.eval_every, 1)
        check_range('save_every', self.save_every, 0)
        if self.keep_best and self.eval_split in (None, 'test'):
            raise UserError("the best epoch is chosen on a split that is measured while training, and never on 'test': give --eval-split "
                            'holdout with --train-split fit')
        if self.amp is not None:
            check_choice('precision (amp)', self.amp, ('bf16', 'fp16'))
