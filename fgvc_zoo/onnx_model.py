"""An exported ONNX file as a model: called like one, with the class names and the preprocessing that the file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, first_line

METADATA = 'fgvc_zoo'  # the entry of the file's metadata, JSON


class OnnxModel(nn.Module):
    """A model that ONNX Runtime computes, on the CPU. Images (B, 3, S, S) float32 -> logits (B, K).

    Args:
        path: A file of `fgvc_zoo.export.export_model`.

    Attributes:
        num_classes: K.
        pretrained_cfg: Class names and preprocessing, as timm's models have them.

    Raises:
        UserError: ONNX Runtime is not installed, or the file is none of `export_model`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise UserError("an ONNX file needs ONNX Runtime: pip install 'fgvc-zoo[export]'") from error
        try:
            self._session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
        except Exception as error:  # ONNX Runtime raises many types
            raise UserError(f"'{path}' cannot be read as an ONNX file: {first_line(error)}") from error
        entries = self._session.get_modelmeta().custom_metadata_map
        try:
            facts: dict[str, Any] = json.loads(entries[METADATA])
            size, names = int(facts['input_size']), [str(name) for name in facts['class_names']]
            cfg = {key: facts[key] for key in ('mean', 'std', 'interpolation', 'crop_pct', 'crop_mode', 'architecture')}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"'{path}' was not written by fgvc-zoo export: its metadata have no class names and preprocessing") from error
        self.num_classes = len(names)
        self.pretrained_cfg = dict(cfg, input_size=(3, size, size), label_names=names)
        self._place = nn.Parameter(torch.empty(0), requires_grad=False)  # callers ask a parameter for the device
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        logits, *_ = self._session.run(['logits'], {'images': x.detach().float().contiguous().cpu().numpy()})
        return torch.from_numpy(logits)
