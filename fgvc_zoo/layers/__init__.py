"""Tensors in, tensors out: no model, no data, no input or output."""

from fgvc_zoo.layers.attention_boxes import attention_box, attention_crop, attention_drop, half_maximum_boxes, object_box, sample_maps
from fgvc_zoo.layers.attention_pooling import AttentionMaps, attention_embedding, bilinear_attention_pooling, signed_sqrt
from fgvc_zoo.layers.attention_proposal import (
    AttentionProposal,
    attended_crop,
    bound_squares,
    box_mask,
    extent_squares,
    joint_descriptor,
    nested_squares,
    paste_maps,
    peak_squares,
    response_map,
    square_boxes,
)
from fgvc_zoo.layers.components import largest_component
from fgvc_zoo.layers.excitation import FlattenedMaps, MultiExcitation, ParallelLinear, PositionPool
from fgvc_zoo.layers.mean_prediction import mean_prediction
from fgvc_zoo.layers.pairwise_interaction import Pairs, PairwiseInteraction, attentive_features, nearest_pairs
from fgvc_zoo.layers.resampling import crop_boxes

__all__ = [
    'AttentionMaps', 'AttentionProposal', 'FlattenedMaps', 'MultiExcitation', 'Pairs', 'PairwiseInteraction',
    'ParallelLinear', 'PositionPool', 'attended_crop', 'attention_box', 'attention_crop', 'attention_drop',
    'attention_embedding',
    'attentive_features', 'bilinear_attention_pooling', 'bound_squares', 'box_mask', 'crop_boxes', 'extent_squares',
    'half_maximum_boxes', 'joint_descriptor', 'largest_component', 'mean_prediction', 'nearest_pairs',
    'nested_squares', 'object_box', 'paste_maps', 'peak_squares', 'response_map', 'sample_maps', 'signed_sqrt',
    'square_boxes',
]
