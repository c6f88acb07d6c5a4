"""Bilinear CNN: Lin et al., "Bilinear CNN Models for Fine-grained Visual Recognition", ICCV 2015, arXiv 1504.07889.

The outer product of the feature vector with itself, averaged over positions, is the image's descriptor: second-order
statistics of the map. Its entries' signed square roots, as a vector of unit length, are classified. Here both feature
extractors of the paper are the same network, its variant B-CNN [D, D].
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fgvc_zoo.layers import attention_embedding
from fgvc_zoo.models import FineGrainedModel, Paper, Variant, register_method
from fgvc_zoo.tasks import BaselineTask


class BilinearCNN(FineGrainedModel):
    """Bilinear CNN over any timm backbone.

    Args:
        channels: A 1x1 convolution reduces the map to this many channels before the outer product; 0 keeps all, as in
            the paper.
        shared: Arguments of `FineGrainedModel`.
    """

    method = 'bilinear_cnn'

    def __init__(self, channels: int = 128, **shared: Any) -> None:
        super().__init__(**shared)
        width = channels or self.num_features
        self.add_classifier(width * width)
        self.reduce: nn.Module = nn.Identity()
        if channels:
            self.reduce = nn.Conv2d(self.num_features, channels, 1, bias=False, **self.like_backbone())

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> mean outer product (B, channels * channels), signed square roots, unit length."""
        reduced = self.reduce(features)
        return attention_embedding(reduced, reduced).to(features.dtype)


register_method(
    BilinearCNN,
    Paper('Bilinear CNN Models for Fine-grained Visual Recognition', '1504.07889',
          'The bilinear CNN classifies the outer product of the features with themselves, averaged over the image.'),
    {
        'vgg16': Variant(
            "The paper's VGG-16: all 512 channels of its last convolution (28x28 for 448 px).",
            args=dict(stage=-2, channels=0), cfg=dict(input_size=448, pool_size=(28, 28))),
        'tf_efficientnet_lite0': Variant('EfficientNet-Lite0: small and fast.'),
    },
    task=BaselineTask,  # plain cross-entropy, as in the paper
    recipe=Path(__file__).with_name('recipe.yaml'))
