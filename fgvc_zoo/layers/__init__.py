"""Tensors in, tensors out: no model, no data, no input or output."""

from fgvc_zoo.layers.attention_boxes import attention_box, attention_crop, attention_drop, crop_boxes, object_box, sample_maps
from fgvc_zoo.layers.attention_pooling import AttentionMaps, attention_embedding, bilinear_attention_pooling, signed_sqrt
from fgvc_zoo.layers.components import largest_component
from fgvc_zoo.layers.excitation import MultiExcitation, ParallelLinear

__all__ = [
    'AttentionMaps', 'MultiExcitation', 'ParallelLinear', 'attention_box', 'attention_crop', 'attention_drop', 'attention_embedding',
    'bilinear_attention_pooling', 'crop_boxes', 'largest_component', 'object_box', 'sample_maps', 'signed_sqrt',
]
