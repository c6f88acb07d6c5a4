"""The manifest of all checkpoints. timm's pretrained configs, the tables and the model cards are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

FOLDER = Path(__file__).parent
MANIFEST = FOLDER / 'manifest.yaml'


@dataclass(frozen=True)
class Checkpoint:
    """One trained model.

    Attributes:
        architecture: Registered timm name, e.g. 'wsdan_tf_efficientnet_lite0'.
        tag: What it was trained on, e.g. 'cub200'; the model is `architecture.tag`.
        path: The safetensors file, relative to the manifest if it is in the package, else to the repository.
        in_package: Whether the weights come with the package.
        sha256: Checksum of the file, 64 hex digits.
        size: Length of the file in bytes.
        labels: Name of the text file beside the manifest with one class name per line.
        num_classes: Number of classes.
        model_args: Arguments of the architecture that differ from its defaults.
        input_size: Side of the square input in pixels.
        crop_pct: Central part of the resized image that is used, in (0, 1].
        crop_mode: How a picture becomes square: 'center', 'squash' or 'border'.
        license: SPDX identifier, or a sentence, for the weights.
        data: What it was trained on, in words.
        recipe: Name of the recipe.
        seed: Seed of the training run.
        epochs: Epochs of the training run.
        metrics: Test accuracies in percent: top1, top5, mean_per_class, and top1 of each pass or scale.
        results: Path of the result file in the repository.
        default: Whether `pretrained=True` without a tag loads this one.
        repo: Hub repository; empty if it is not published.
        revision: Commit of that repository.
        calibration: Temperature, threshold and number of photographs of `fgvc_zoo.calibration`; None if it is not calibrated.
        golden: First logits for the image of `golden_input`. An intact checkpoint reproduces them.
    """

    architecture: str
    tag: str
    path: str
    in_package: bool
    sha256: str
    size: int
    labels: str
    num_classes: int
    input_size: int
    crop_pct: float
    license: str
    data: str
    recipe: str
    seed: int
    epochs: int
    metrics: dict[str, float]
    results: str
    crop_mode: str = 'center'
    default: bool = False
    model_args: dict[str, Any] = field(default_factory=dict)
    repo: str = ''
    revision: str = ''
    calibration: dict[str, float] | None = None
    golden: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """'architecture.tag', as timm.create_model takes it."""
        return f'{self.architecture}.{self.tag}'

    @property
    def file(self) -> Path:
        """Path of the weights. Those that are not in the package exist only in a clone of the repository."""
        return (FOLDER if self.in_package else FOLDER.parents[1]) / self.path

    @property
    def folder(self) -> str:
        """The folder in a clone that timm's 'local-dir:' loads; empty if the weights are in the package."""
        return '' if self.in_package else str(Path(self.path).parent)

    def label_names(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return tuple((FOLDER / self.labels).read_text(encoding='utf-8').split('\n')[:self.num_classes])


@cache
def load_manifest() -> tuple[Checkpoint, ...]:
    """Every checkpoint in the manifest.

    Raises:
        ValueError: An entry has an unknown or a missing key.
    """
    entries = yaml.safe_load(MANIFEST.read_text(encoding='utf-8')) or []
    known = {item.name for item in fields(Checkpoint)}
    for entry in entries:
        if unknown := set(entry) - known:
            raise ValueError(f'{MANIFEST.name}: unknown keys {sorted(unknown)} in {entry.get("architecture")}')
    return tuple(Checkpoint(**entry) for entry in entries)


def model_args(architecture: str, tag: str | None) -> dict[str, Any]:
    """Arguments that the weights of `architecture.tag` (the default tag if None) need beyond the architecture's defaults."""
    for item in load_manifest():
        if item.architecture == architecture and (item.tag == tag if tag else item.default):
            return item.model_args
    return {}


def golden_input(size: int) -> Tensor:
    """The fixed image of the golden logits: (1, 3, size, size) float32, sine waves in [-1, 1], no random numbers."""
    axis = torch.linspace(0, 1, size)
    waves = [torch.outer(torch.sin((9 + 4 * channel) * axis), torch.cos((5 + 3 * channel) * axis)) for channel in range(3)]
    return torch.stack(waves)[None]


def trained_cfgs(cfgs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """timm pretrained configs of one method: one per available checkpoint, and one per architecture without weights.

    A checkpoint is available if it is in the package, or on the Hub according to the manifest.

    Args:
        cfgs: Architecture name -> config without weights.

    Returns:
        What timm's `generate_default_cfgs` takes: checkpoints first, default tags before others.
    """
    trained = {}
    for item in sorted(load_manifest(), key=lambda checkpoint: not checkpoint.default):
        if item.architecture in cfgs and (item.in_package or item.repo):
            source = dict(file=str(item.file)) if item.in_package else dict(hf_hub_id=f'{item.repo}@{item.revision}')
            cfg = cfgs[item.architecture]
            pool_size = cfg['pool_size'] and tuple(cells * item.input_size // cfg['input_size'][-1] for cells in cfg['pool_size'])
            trained[item.name] = dict(
                cfg, **source, num_classes=item.num_classes, label_names=item.label_names(), pool_size=pool_size,
                input_size=(3, item.input_size, item.input_size), crop_pct=item.crop_pct, crop_mode=item.crop_mode,
                license=item.license)
    with_weights = {name.partition('.')[0] for name in trained}
    return {**trained, **{name: cfg for name, cfg in cfgs.items() if name not in with_weights}}
