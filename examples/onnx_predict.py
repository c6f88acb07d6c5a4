"""Classify photographs with a file of `fgvc-zoo export`. Needs ONNX Runtime, Pillow and NumPy, and no torch.

    pip install onnxruntime pillow numpy
    python onnx_predict.py model.onnx photo.jpg ...
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepare(image, facts):
    """An RGB image as the model's input (3, S, S), with values in [0, 1]."""
    size = facts['input_size']
    scaled = int(size / facts['crop_pct'])
    resampling = Image.Resampling[facts['interpolation'].upper()]
    if facts['crop_mode'] == 'squash':
        image = image.resize((scaled, scaled), resampling)
    elif facts['crop_mode'] == 'border':
        ratio = max(image.size) / scaled
        image = image.resize(tuple(round(side / ratio) for side in image.size), resampling)
    else:
        short = min(image.size)
        image = image.resize(tuple(int(scaled * side / short) for side in image.size), resampling)
    left, top = (round((side - size) / 2) if side > size else (side - size + 1) // 2 for side in image.size)
    square = Image.new('RGB', (size, size), tuple(facts['padding']))
    square.paste(image, (-left, -top))
    return np.asarray(square, np.float32).transpose(2, 0, 1) / 255


def familiarity(logits):
    """The sum of the highest probabilities before the temperature: of a tenth of the classes, one to ten."""
    weights = np.sort(np.exp(logits - logits.max()))[::-1]
    return weights[:max(1, min(10, len(weights) // 10))].sum() / weights.sum()


def main(model, *photos):
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    facts = json.loads(session.get_modelmeta().custom_metadata_map['fgvc_zoo'])
    for photo in photos:
        image = ImageOps.exif_transpose(Image.open(photo))
        if image.mode.startswith('I'):  # 16-bit grey
            image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
        logits, probabilities = (out[0] for out in session.run(['logits', 'probabilities'], {'images': prepare(image, facts)[None]}))
        print(photo)
        if familiarity(logits) < facts['calibration']['threshold']:
            print('  perhaps none of the classes')
        for index in np.argsort(-probabilities)[:5]:
            print(f"  {100 * probabilities[index]:5.1f} %  {facts['class_names'][index]}")


if __name__ == '__main__':
    main(*sys.argv[1:])
