"""Images and labels: safe decoding, data sets, samplers, transforms."""

from fgvc_zoo.data._base import ImageDataset
from fgvc_zoo.data.cache import cache_bytes, fits_in_memory
from fgvc_zoo.data.datasets import CUB200, Grocery, ImageFolder, open_dataset
from fgvc_zoo.data.images import IMAGE_EXTENSIONS, ImageError, find_images, image_size, load_image
from fgvc_zoo.data.samplers import BalancedSampler, EpochSampler
from fgvc_zoo.data.transforms import Augmentation, eval_transform, inverse_normalize, train_transform

__all__ = [
    'CUB200', 'IMAGE_EXTENSIONS', 'Augmentation', 'BalancedSampler', 'EpochSampler', 'Grocery', 'ImageDataset', 'ImageError',
    'ImageFolder', 'cache_bytes', 'eval_transform', 'find_images', 'fits_in_memory', 'image_size',
    'inverse_normalize', 'load_image', 'open_dataset', 'train_transform',
]
