"""The networks. Importing this module registers every model with timm."""

from fgvc_zoo.models.apinet import APINet, APINetOutput
from fgvc_zoo.models.backbone import Backbone
from fgvc_zoo.models.base import CONTRAST_MAPS, Explanation, FineGrainedModel, Paper, Passes
from fgvc_zoo.models.osme import OSME, OSMEOutput
from fgvc_zoo.models.racnn import RACNN, RACNNOutput
from fgvc_zoo.models.registry import METHODS, Method, Variant, find_method, register_method
from fgvc_zoo.models.two_pass import PassOutput, TwoPassModel
from fgvc_zoo.models.wsban import WSBAN
from fgvc_zoo.models.wsdan import WSDAN

for _method in METHODS.values():  # other packages register theirs later
    _method.package = 'fgvc-zoo'

__all__ = [
    'CONTRAST_MAPS', 'METHODS', 'OSME', 'RACNN', 'WSBAN', 'WSDAN', 'APINet', 'APINetOutput', 'Backbone', 'Explanation',
    'FineGrainedModel', 'Method', 'OSMEOutput', 'Paper', 'PassOutput', 'Passes', 'RACNNOutput', 'TwoPassModel',
    'Variant', 'find_method', 'register_method',
]
