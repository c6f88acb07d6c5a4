"""Make tiny model folders of the current format, for the test that every later version reads them. Run it once for each format.

    python tests/formats/make.py
"""

from __future__ import annotations

import json
from pathlib import Path

import timm
import torch

from fgvc_zoo._files import half_precision, read_weights, write_json, write_weights
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.checkpoints import golden_input
from fgvc_zoo.config_file import FORMAT
from fgvc_zoo.loading import load_model
from fgvc_zoo.saving import save_model

SIZE = 64
ARGS = dict(wsdan=dict(num_maps=2), wsban=dict(num_maps=2), osme=dict(width=16), racnn=dict(proposal_width=8), apinet={})

if __name__ == '__main__':
    for method, args in ARGS.items():
        folder = Path(__file__).parent / str(FORMAT) / method
        torch.manual_seed(0)
        model = timm.create_model(method, backbone='test_efficientnet', num_classes=3, **args).eval()
        model.pretrained_cfg.update(input_size=(3, SIZE, SIZE), num_classes=3)
        model.calibration = Calibration(0.8, 0.4, 12)
        save_model(model, folder, label_names=['gala', 'kiwi', 'leek'])
        weights = folder / 'model.safetensors'
        write_weights(weights, half_precision(read_weights(weights)))
        with torch.no_grad():
            logits = load_model(str(folder))(golden_input(SIZE))
        write_json(folder / 'logits.json', json.loads(json.dumps(logits.tolist())))
