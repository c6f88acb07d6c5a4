"""The networks. Importing this module registers every model with timm."""

from fgvc_zoo.models._base import Explanation, FineGrainedModel, Passes
from fgvc_zoo.models.wsdan import *  # noqa: F403  (timm's convention: each file lists its registered names in __all__)
from fgvc_zoo.models.wsdan import WSDAN, WSDANOutput

__all__ = ['WSDAN', 'Explanation', 'FineGrainedModel', 'Passes', 'WSDANOutput']
