"""Training: the loop on Hugging Face Accelerate, resumable bit for bit."""

from fgvc_zoo.training.trainer import TrainConfig, train

__all__ = ['TrainConfig', 'train']
