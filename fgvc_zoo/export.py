"""A trained model as one file for other runtimes: ONNX, or a program of torch.export. It holds the whole inference, with all passes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import atomic_write
from fgvc_zoo.calibration import calibration_of
from fgvc_zoo.checkpoints import golden_input
from fgvc_zoo.config_file import FORMAT
from fgvc_zoo.data.transforms import padding_color
from fgvc_zoo.loading import TimmModel, class_names
from fgvc_zoo.onnx_model import METADATA, open_onnx
from fgvc_zoo.version import __version__

OPSET = 20
BOUND = 1e-2  # of the largest difference of a logit


class Difference(NamedTuple):
    """How far an exported file's outputs are from the model's, on two images: largest absolute differences.

    Attributes:
        logits: Of logits.
        probabilities: Of probabilities.
    """

    logits: float
    probabilities: float


class ExportedModel(nn.Module):
    """What a file holds: images with values in [0, 1] are normalised and classified.

    Maps images (B, 3, S, S) float32 to logits (B, K) and calibrated probabilities (B, K), and with `attention` also to attention maps
    (B, M, h, w) and boxes (B, N, 4), xyxy in unit coordinates.

    Args:
        model: A trained model.
        attention: See above.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: TimmModel, attention: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.attention = attention
        self.calibration = calibration_of(model)
        cfg = model.pretrained_cfg
        self.register_buffer('mean', torch.tensor(cfg['mean']).view(1, -1, 1, 1))
        self.register_buffer('std', torch.tensor(cfg['std']).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        view = (images - self.mean) / self.std
        if not self.attention:
            logits = self.model(view)
            return logits, self.calibration.probabilities(logits)
        logits, explanation = self.model.forward_explained(view)
        return logits, self.calibration.probabilities(logits), explanation.maps, explanation.boxes


def export_model(model: TimmModel, path: Path, attention: bool = False, license: str = '') -> Difference:
    """Write a model as `path`, whose ending says how: '.onnx', or '.pt2' for torch.export. The batch may have any size.

    The file has class names, preprocessing, calibration and licence in its metadata. It is compared with the model before it takes its
    name.

    Args:
        model: From `load_model`, on the CPU.
        path: The file to write.
        attention: Give attention maps and boxes as further outputs.
        license: Of the weights.

    Raises:
        UserError: The ending is another one, a library is missing, the model has no attention to export, or the file's logits differ from
            the model's by more than `BOUND`.
    """
    if path.suffix not in _WRITERS:
        raise UserError(f"'{path.name}' must end with {' or '.join(_WRITERS)}")
    if attention and not hasattr(model, 'forward_explained'):
        raise UserError('a plain timm model has no attention maps to export: leave --attention out')
    whole = ExportedModel(model, attention)
    images = _examples(model.pretrained_cfg['input_size'])
    with torch.inference_mode():
        expected = whole(images)
    facts = metadata(model, attention, license)
    difference = Difference(0.0, 0.0)

    def write(place: Path) -> None:
        nonlocal difference
        file = place.with_name(place.name + path.suffix)  # the ending tells both readers what it is
        try:
            found = _WRITERS[path.suffix](whole, images, file, facts)
            difference = Difference(*((a - b).abs().max().item() for a, b in zip(expected[:2], found, strict=True)))
            if not difference.logits <= BOUND:
                raise UserError(f"the exported model's logits differ from the model's by {difference.logits:.2g}, more than {BOUND:g}: "
                                f"'{path}' is not written")
            file.replace(place)
        finally:
            file.unlink(missing_ok=True)

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporters, about themselves
        atomic_write(path, write)
    return difference


def metadata(model: TimmModel, attention: bool = False, license: str = '') -> dict[str, Any]:
    """What a program needs to use an exported file: class names, and how a photograph becomes the input."""
    cfg = model.pretrained_cfg
    channels, size, _ = cfg['input_size']
    map_names, box_names = [], []
    if attention:
        with torch.inference_mode():
            _, explanation = model.forward_explained(torch.zeros(1, channels, size, size))
        map_names, box_names = explanation.map_names, explanation.box_names
    return dict(
        architecture=cfg['architecture'], class_names=class_names(model), input_size=size, crop_pct=cfg['crop_pct'],
        crop_mode=cfg.get('crop_mode') or 'center', interpolation=cfg['interpolation'],
        values='RGB in [0, 1]' if channels == 3 else 'in [0, 1]', mean=[0.0] * channels, std=[1.0] * channels,
        padding=list(padding_color(cfg['mean'])),
        calibration=asdict(calibration_of(model)), license=license, map_names=map_names, box_names=box_names, fgvc_zoo=__version__,
        format=FORMAT)


def _examples(input_size: tuple[int, int, int]) -> Tensor:
    """Two images (2, C, S, S) with values in [0, 1]."""
    channels, size, _ = input_size
    waves = golden_input(size)[:, :channels] / 2 + 0.5
    return torch.cat([waves, waves.flip(1, 3)])


def _write_onnx(whole: ExportedModel, images: Tensor, path: Path, facts: dict[str, Any]) -> list[Tensor]:
    try:
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ModuleNotFoundError as error:
        raise UserError("exporting to ONNX needs more libraries: pip install 'fgvc-zoo[export]'") from error
    outputs = ['logits', 'probabilities', 'maps', 'boxes'] if whole.attention else ['logits', 'probabilities']
    program = torch.onnx.export(
        whole, (images,), dynamo=True, verbose=False, opset_version=OPSET, input_names=['images'], output_names=outputs,
        dynamic_shapes={'images': {0: torch.export.Dim('batch')}})
    assert program is not None  # it is None only when torch.onnx writes the file itself
    program.model.metadata_props[METADATA] = json.dumps(facts)
    program.save(path, external_data=False)
    return open_onnx(path).run(['logits', 'probabilities'], images)


def _write_program(whole: ExportedModel, images: Tensor, path: Path, facts: dict[str, Any]) -> list[Tensor]:
    program = torch.export.export(whole, (images,), dynamic_shapes={'images': {0: torch.export.Dim('batch')}})
    torch.export.save(program, path, extra_files={METADATA: json.dumps(facts)})
    with torch.inference_mode():
        return list(torch.export.load(path).module()(images)[:2])


_WRITERS: dict[str, Callable[[ExportedModel, Tensor, Path, dict[str, Any]], list[Tensor]]] = {'.onnx': _write_onnx, '.pt2': _write_program}
