"""WS-BAN: weakly supervised bilinear attention network.

Hu et al., arXiv 1808.02152 (first version: WS-LAN). Attention maps pool the backbone's map part by part (bilinear
attention pooling, shared with WS-DAN). In training, whole maps are dropped so that no part decides alone. The largest
connected region of the mean map is the object, as with class activation maps; it is enlarged, and both passes are
classified jointly.

The description leaves open how the passes are joined, the threshold and the dropout rate. Chosen here: the mean of both
passes' probabilities, a fifth of the maximum, a fifth of the maps.
"""

from typing import Any

from fgvc_zoo.models.base import Paper
from fgvc_zoo.models.registry import Variant, register_method
from fgvc_zoo.models.two_pass import TwoPassModel


class WSBAN(TwoPassModel):
    """WS-BAN over any timm backbone.

    Args:
        num_maps: M, attention maps.
        refine_threshold: Fraction of the mean map's maximum that counts as object.
        attention_drop_rate: Share of the attention maps that are dropped whole in training, in [0, 1); the others are
            scaled up. The joint L2 normalisation behind it cancels the common factor.
        shared: `refine`, `refine_padding`, `feature_scale` and `pass_size` of `TwoPassModel`, and the arguments of
            `FineGrainedModel`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone, or a number is out of range.
    """

    method = 'wsban'

    def __init__(
            self,
            num_maps: int = 128,
            refine_threshold: float = 0.2,
            attention_drop_rate: float = 0.2,
            **shared: Any,
    ) -> None:
        super().__init__(num_maps, refine_threshold, connected=True, attention_drop_rate=attention_drop_rate, **shared)


register_method(
    WSBAN,
    Paper('Weakly Supervised Bilinear Attention Network', '1808.02152',
          'WS-BAN learns attention maps without part labels, pools the features part by part, and classifies the image '
          'together with its attended object, enlarged.',
          'Hu, Xu, Huang, Qi, Huang, Lu: Weakly Supervised Bilinear Attention Network for Fine-Grained Visual Classification. 2018'),
    {
        'inception_v3': Variant(
            "The paper's backbone, features from Mixed_6e (26x26 for 448 px).", args=dict(stage=-2),
            cfg=dict(input_size=448, min_input_size=(3, 299, 299), pool_size=(26, 26))),
        'resnet50': Variant('ResNet-50, features from its last stage (14x14 for 448 px).', cfg=dict(input_size=448)),
        # The threshold is half of the maximum, as for WS-DAN over this backbone: its 7x7 maps stay well above 0 beside
        # the object.
        'tf_efficientnet_lite0': Variant(
            'EfficientNet-Lite0: small and fast; 16 maps keep a checkpoint small: 15 MB for 200 classes in half precision.',
            args=dict(num_maps=16, refine_threshold=0.5)),
        'convnext_tiny': Variant('ConvNeXt-Tiny: a modern CNN; its features are signed.'),
        'vit_small_patch16_224': Variant(
            'ViT-S/16: the patch tokens are the map (14x14 for 224 px).', cfg=dict(pool_size=(14, 14))),
    })
