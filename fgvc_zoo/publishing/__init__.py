"""A trained model as a repository of the Hugging Face Hub: staged in a folder, published as one commit, checked after download.

A staged folder holds what timm and transformers read (`model.safetensors`, `config.json`), what people read (`README.md`, the card;
`labels.txt`) and what shows that it is what it says: `result.json` (the measured figures), `recipe.yaml`, `golden.safetensors` (the logits
of a fixed image) and `checksums.json`.
"""

from fgvc_zoo.publishing.staging import CHECKSUMS, COMPARABLE, RESULT, check, golden_logits, is_staged, stage
from fgvc_zoo.publishing.upload import Published, compare, publish
from fgvc_zoo.publishing.zoo import find_baseline, find_checkpoint, stage_checkpoint, update_manifest

__all__ = [
    'CHECKSUMS', 'COMPARABLE', 'RESULT', 'Published', 'check', 'compare', 'find_baseline', 'find_checkpoint', 'golden_logits', 'is_staged',
    'publish', 'stage', 'stage_checkpoint', 'update_manifest',
]
