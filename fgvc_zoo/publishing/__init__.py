"""A trained model as a repository of the Hugging Face Hub: staged in a folder, published as one commit, checked after download.

A staged folder holds `model.safetensors` and `config.json` for timm and transformers, the model card `README.md`, the class names
`labels.txt`, the measured figures `result.json`, `recipe.yaml`, the logits of a fixed image `golden.safetensors`, and `checksums.json`.
"""

from fgvc_zoo.publishing.staging import CHECKSUMS, COMPARABLE, RESULT, check, golden_logits, is_staged, stage
from fgvc_zoo.publishing.upload import Published, compare, publish
from fgvc_zoo.publishing.zoo import find_baseline, find_checkpoint, set_calibration, stage_checkpoint, update_manifest

__all__ = [
    'CHECKSUMS', 'COMPARABLE', 'RESULT', 'Published', 'check', 'compare', 'find_baseline', 'find_checkpoint', 'golden_logits', 'is_staged',
    'publish', 'set_calibration', 'stage', 'stage_checkpoint', 'update_manifest',
]
