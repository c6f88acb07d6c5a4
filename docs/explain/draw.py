"""Draw the pictures of this folder: one of each method, with its CUB-200-2011 checkpoint, of a photograph in the public domain.

    python docs/explain/draw.py
"""

from __future__ import annotations

from pathlib import Path

from fgvc_zoo.explain import draw_prediction
from fgvc_zoo.loading import load_model
from fgvc_zoo.prediction import predict

FOLDER = Path(__file__).parent
PHOTO = FOLDER.parent / 'photos' / 'red_winged_blackbird.jpg'

for method in ('wsdan', 'wsban', 'apinet', 'osme', 'racnn'):
    model = load_model(f'{method}_tf_efficientnet_lite0.cub200')
    for answer in predict(model, [PHOTO], explain=True):
        draw_prediction(answer, model.pretrained_cfg).save(FOLDER / f'{method}.jpg', quality=85, optimize=True)
