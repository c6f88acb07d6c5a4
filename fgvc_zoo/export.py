"""A trained model as one file for other runtimes: ONNX, or a program of torch.export. It holds the whole inference, with all passes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import atomic_write
from fgvc_zoo.checkpoints import golden_input
from fgvc_zoo.loading import TimmModel, class_names
from fgvc_zoo.onnx_model import METADATA, OnnxModel
from fgvc_zoo.version import __version__

OPSET = 20
BOUND = 1e-2  # of the largest difference of a logit


class ExportedModel(nn.Module):
    """What a file holds: images with values in [0, 1] are normalised, then classified.

    Maps images (B, 3, S, S) float32 to logits (B, K), and with `attention` also to attention maps (B, M, h, w) and boxes (B, N, 4), xyxy
    in unit coordinates.

    Args:
        model: A trained model.
        attention: See above.
    """

    def __init__(self, model: TimmModel, attention: bool = False) -> None:
        super().__init__()
        self.model = model.eval()
        self.attention = attention
        cfg = model.pretrained_cfg
        self.register_buffer('mean', torch.tensor(cfg['mean']).view(1, 3, 1, 1))
        self.register_buffer('std', torch.tensor(cfg['std']).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        view = (images - self.mean) / self.std
        if not self.attention:
            return (self.model(view),)
        logits, explanation = self.model.forward_explained(view)
        return logits, explanation.maps, explanation.boxes


def export_model(model: TimmModel, path: Path, attention: bool = False, licence: str = '') -> float:
    """Write a model as `path`, whose ending says how: '.onnx', or '.pt2' for torch.export. The batch may have any size.

    The file has class names, preprocessing and licence in its metadata. It is compared with the model before it takes its name.

    Args:
        model: From `load_model`, on the CPU.
        path: The file to write.
        attention: Give attention maps and boxes as further outputs.
        licence: Of the weights.

    Returns:
        The largest difference of a logit from the model's.

    Raises:
        UserError: The ending is another one, a library is missing, the model has no attention to export, or the file's logits differ.
    """
    writers: dict[str, Callable[..., Any]] = {'.onnx': _write_onnx, '.pt2': _write_program}
    if path.suffix not in writers:
        raise UserError(f"'{path.name}' must end with {' or '.join(writers)}")
    if attention and not hasattr(model, 'forward_explained'):
        raise UserError('a plain timm model has no attention maps to export')
    whole = ExportedModel(model, attention)
    facts = metadata(model, licence)
    images = _examples(facts['input_size'])
    with torch.inference_mode():
        expected = whole(images)[0]
    gap = 0.0

    def write(place: Path) -> None:
        nonlocal gap
        # the ending tells torch.export and ONNX Runtime what it is
        file = place.with_name(place.name + path.suffix)
        try:
            found = writers[path.suffix](whole, images, file, facts)
            gap = (found - expected).abs().max().item()
            if not gap <= BOUND:
                raise UserError(f"the exported model's logits differ from the model's by {gap:.2g}, more than {BOUND:g}: it is not written")
            file.replace(place)
        finally:
            file.unlink(missing_ok=True)

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the exporters, about themselves
        atomic_write(path, write)
    return gap


def metadata(model: TimmModel, licence: str = '') -> dict[str, Any]:
    """What a program needs to use an exported file: class names, and how a photograph becomes the input."""
    cfg = model.pretrained_cfg
    return dict(
        architecture=cfg['architecture'], class_names=class_names(model), input_size=cfg['input_size'][-1], crop_pct=cfg['crop_pct'],
        crop_mode=cfg.get('crop_mode') or 'center', interpolation=cfg['interpolation'], mean=[0.0] * 3, std=[1.0] * 3,
        values='RGB in [0, 1]', licence=licence, fgvc_zoo=__version__)


def _examples(size: int) -> Tensor:
    """Two images with values in [0, 1]."""
    waves = golden_input(size) / 2 + 0.5
    return torch.cat([waves, waves.flip(1, 3)])


def _write_onnx(whole: ExportedModel, images: Tensor, path: Path, facts: dict[str, Any]) -> Tensor:
    try:
        import onnxscript  # noqa: F401  torch.onnx needs it
    except ModuleNotFoundError as error:
        raise UserError("exporting to ONNX needs more libraries: pip install 'fgvc-zoo[export]'") from error
    outputs = ['logits', 'maps', 'boxes'] if whole.attention else ['logits']
    program = torch.onnx.export(
        whole, (images,), dynamo=True, verbose=False, opset_version=OPSET, input_names=['images'], output_names=outputs,
        dynamic_shapes={'images': {0: torch.export.Dim('batch')}})
    assert program is not None
    program.model.metadata_props[METADATA] = json.dumps(facts)
    program.save(path, external_data=False)
    return OnnxModel(path)(images)


def _write_program(whole: ExportedModel, images: Tensor, path: Path, facts: dict[str, Any]) -> Tensor:
    program = torch.export.export(whole, (images,), dynamic_shapes={'images': {0: torch.export.Dim('batch')}})
    torch.export.save(program, path, extra_files={METADATA: json.dumps(facts)})
    logits: Tensor = torch.export.load(path).module()(images)[0]
    return logits
