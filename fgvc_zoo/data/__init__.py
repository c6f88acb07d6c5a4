"""Images and labels: safe decoding, data sets, samplers, transforms."""

from fgvc_zoo.data._base import TUNING_SPLITS, ImageDataset
from fgvc_zoo.data.batches import ImageBatch, load_batches, outlast_signal
from fgvc_zoo.data.cache import fits_in_memory
from fgvc_zoo.data.checking import DataReport, check_data, draw_class_sizes
from fgvc_zoo.data.class_names import match_classes
from fgvc_zoo.data.datasets import LAYOUTS, find_layout, open_dataset
from fgvc_zoo.data.files import IMAGE_EXTENSIONS, find_images, free_names, is_url
from fgvc_zoo.data.folder import ImageFolder, check_outside
from fgvc_zoo.data.images import ImageError, image_size, load_image
from fgvc_zoo.data.info import DataInfo
from fgvc_zoo.data.layouts.birds import CUB200
from fgvc_zoo.data.layouts.grocery import Grocery
from fgvc_zoo.data.samplers import BalancedSampler, EpochSampler
from fgvc_zoo.data.transforms import Augmentation, eval_transform, inverse_normalize, train_transform

__all__ = [
    'CUB200', 'IMAGE_EXTENSIONS', 'LAYOUTS', 'TUNING_SPLITS', 'Augmentation', 'BalancedSampler', 'DataInfo', 'DataReport',
    'EpochSampler', 'Grocery', 'ImageBatch', 'ImageDataset', 'ImageError', 'ImageFolder', 'check_data', 'check_outside',
    'draw_class_sizes', 'eval_transform', 'find_images', 'find_layout', 'fits_in_memory', 'free_names', 'image_size',
    'inverse_normalize', 'is_url', 'load_batches', 'load_image', 'match_classes', 'open_dataset', 'outlast_signal', 'train_transform',
]
