"""Classify photographs with a file of `fgvc-zoo export`. Needs ONNX Runtime, Pillow and NumPy, and no torch.

    python onnx_predict.py model.onnx photo.jpg ...
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

TOP = 5


def prepare(image, facts):
    """An image as the model's input (3, S, S), with values in [0, 1]."""
    size = facts['input_size']
    scaled = int(size / facts['crop_pct'])
    filter = Image.Resampling[facts['interpolation'].upper()]
    if facts['crop_mode'] == 'squash':
        image = image.resize((scaled, scaled), filter)
    else:
        short = min(image.size)
        image = image.resize(tuple(int(scaled * side / short) for side in image.size), filter)
    left, top = (round((side - size) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32)
    return pixels.transpose(2, 0, 1) / 255


def main(model, *photos):
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    facts = json.loads(session.get_modelmeta().custom_metadata_map['fgvc_zoo'])
    for photo in photos:
        image = ImageOps.exif_transpose(Image.open(photo)).convert('RGB')
        logits = session.run(['logits'], {'images': prepare(image, facts)[None]})[0][0]
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        print(photo)
        for index in np.argsort(-probabilities)[:TOP]:
            print(f"  {probabilities[index]:6.1%}  {facts['class_names'][index]}")


if __name__ == '__main__':
    main(*sys.argv[1:])
