"""An exported ONNX file as a model: called like one, with the class names, the preprocessing and the calibration that the file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, first_line
from fgvc_zoo.calibration import read_calibration
from fgvc_zoo.config_file import FORMAT, check_format
from fgvc_zoo.models import Explanation

METADATA = 'fgvc_zoo'  # the entry of the file's metadata, JSON
_PREPROCESSING = ('mean', 'std', 'interpolation', 'crop_pct', 'crop_mode', 'architecture', 'license')


class OnnxModel(nn.Module):
    """A model that ONNX Runtime computes, on the CPU. Images (B, 3, S, S), normalised float32 -> logits (B, K).

    Attributes:
        num_classes: K.
        pretrained_cfg: Class names and preprocessing, as timm's models have them.
        calibration: Of the file's weights.
    """

    def __init__(self, session: Any, facts: dict[str, Any]) -> None:
        super().__init__()
        size, names = int(facts['input_size']), [str(name) for name in facts['class_names']]
        self.num_classes = len(names)
        cfg = {key: facts[key] for key in _PREPROCESSING}
        cfg['padding'] = tuple(int(value) for value in facts['padding']) if 'padding' in facts else None
        self.pretrained_cfg = dict(cfg, input_size=(3, size, size), label_names=names)
        self.calibration = read_calibration(facts['calibration'])
        self._session, self._facts = session, facts
        self._place = nn.Parameter(torch.empty(0), requires_grad=False)  # callers ask a parameter for the device
        self.eval()

    def run(self, outputs: list[str], x: Tensor) -> list[Tensor]:
        """Some outputs of the file by name, for images as `forward` takes them.

        Raises:
            UserError: The file does not take images of this size.
        """
        try:
            values = self._session.run(outputs, {'images': x.detach().float().contiguous().cpu().numpy()})
        except Exception as error:  # ONNX Runtime's own types
            raise UserError(f'the exported model does not take images of {tuple(x.shape[1:])}: {first_line(error)}') from error
        return [torch.from_numpy(value) for value in values]

    def forward(self, x: Tensor) -> Tensor:
        return self.run(['logits'], x)[0]


class ExplainingOnnxModel(OnnxModel):
    """A file that also gives attention maps and boxes."""

    def forward_explained(self, x: Tensor) -> tuple[Tensor, Explanation]:
        """As the method of the models."""
        logits, maps, boxes = self.run(['logits', 'maps', 'boxes'], x)
        return logits, Explanation(maps, boxes, self._facts['map_names'], self._facts['box_names'])


def open_onnx(path: Path) -> OnnxModel:
    """Open a file of `fgvc-zoo export`.

    Raises:
        UserError: There is no such file, ONNX Runtime is not installed, or the file is of another kind or of a newer version.
    """
    if not path.is_file():
        raise UserError(f"there is no file '{path}'")
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError("an ONNX file needs ONNX Runtime: pip install 'fgvc-zoo[export]'") from error
    onnxruntime.set_default_logger_severity(3)  # errors, and no warnings about graphics cards
    try:
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    except Exception as error:  # ONNX Runtime raises many types
        raise UserError(f"'{path}' cannot be read as an ONNX file: {first_line(error)}") from error
    try:
        facts = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        check_format(path, facts.get('format', FORMAT))
        kind = ExplainingOnnxModel if facts['map_names'] else OnnxModel
        return kind(session, facts)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"'{path}' was not written by 'fgvc-zoo export': its metadata have no class names and preprocessing") from error
