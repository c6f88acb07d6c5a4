"""The networks. Importing this module registers every model with timm."""

from fgvc_zoo.models._base import Explanation, FineGrainedModel, Passes
from fgvc_zoo.models._two_pass import PassOutput
from fgvc_zoo.models.apinet import *  # noqa: F403
from fgvc_zoo.models.apinet import APINet, APINetOutput
from fgvc_zoo.models.osme import *  # noqa: F403
from fgvc_zoo.models.osme import OSME, OSMEOutput
from fgvc_zoo.models.racnn import *  # noqa: F403
from fgvc_zoo.models.racnn import RACNN, RACNNOutput
from fgvc_zoo.models.wsban import *  # noqa: F403  (timm's convention: each file lists its registered names in __all__)
from fgvc_zoo.models.wsban import WSBAN
from fgvc_zoo.models.wsdan import *  # noqa: F403
from fgvc_zoo.models.wsdan import WSDAN

METHODS = ('wsdan', 'wsban', 'apinet', 'osme', 'racnn')  # each is a file here and the first part of its models' names

__all__ = [
    'METHODS', 'OSME', 'RACNN', 'WSBAN', 'WSDAN', 'APINet', 'APINetOutput', 'Explanation', 'FineGrainedModel', 'OSMEOutput',
    'PassOutput', 'Passes', 'RACNNOutput']
