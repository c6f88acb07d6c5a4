"""Training: the loop on Hugging Face Accelerate, resumable at any step."""

from fgvc_zoo.training.config import TrainConfig
from fgvc_zoo.training.preview import Preview, preview
from fgvc_zoo.training.trainer import train

__all__ = ['Preview', 'TrainConfig', 'preview', 'train']
