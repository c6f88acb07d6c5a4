"""WS-DAN: weakly supervised data augmentation network.

Hu et al., "See Better Before Looking Closer", arXiv 1901.09891. Attention maps pool the backbone's map (bilinear
attention pooling). Inference runs two passes: over the image, and over the object that the mean attention map shows,
cropped and enlarged.

How it is trained (attention-guided crops and drops, attention regularisation) is in the task.
"""

from typing import Any

from torch import Tensor, nn

from fgvc_zoo._errors import UserError, check_choice
from fgvc_zoo.models.base import Paper
from fgvc_zoo.models.registry import Variant, register_method
from fgvc_zoo.models.two_pass import TwoPassModel

ATTENTION_INITS = ('new', 'pretrained_slice')


class WSDAN(TwoPassModel):
    """WS-DAN over any timm backbone.

    `global_pool='avg'` is the public code's pooling (section 3.2 leaves it open), 'max' that of the paper's figure.

    Args:
        num_maps: M, attention maps.
        refine_threshold: Fraction of the mean map's maximum that counts as object.
        attention_init: 'new' initialises the 1x1 convolution at random. 'pretrained_slice' starts from the first M
            channels of the pretrained 1x1 convolution that opens Inception-v3's Mixed_7a, as the authors' code does; it
            needs `backbone='inception_v3'`, `stage=-2` (Mixed_6e) and M <= 192.
        shared: `refine`, `refine_padding`, `feature_scale` and `pass_size` of `TwoPassModel`, and the arguments of
            `FineGrainedModel`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone, or a number is out of range.
    """

    method = 'wsdan'

    def __init__(
            self,
            num_maps: int = 32,
            refine_threshold: float = 0.1,
            attention_init: str = 'new',
            **shared: Any,
    ) -> None:
        check_choice('attention_init', attention_init, ATTENTION_INITS)
        slices: list[dict[str, Tensor]] = []
        if attention_init == 'pretrained_slice':
            def keep_slice(model: nn.Module) -> None:
                slices.append(_mixed_7a_slice(model, shared.get('stage'), num_maps))

            shared['before_pruning'] = keep_slice
        super().__init__(num_maps, refine_threshold, connected=False, attention_drop_rate=0.0, **shared)
        if slices:
            self.attention.load_state_dict(slices[0])


def _mixed_7a_slice(model: Any, stage: int | None, num_maps: int) -> dict[str, Tensor]:
    """The first channels of the 1x1 convolution and batch norm that open Inception-v3's Mixed_7a, as AttentionMaps'
    state."""
    if not hasattr(model, 'Mixed_7a') or stage not in (-2, 3):
        raise UserError("attention_init 'pretrained_slice' needs backbone 'inception_v3' at stage -2 (Mixed_6e)")
    source = model.Mixed_7a.branch3x3_1
    if num_maps > source.conv.out_channels:
        raise UserError(
            f"attention_init 'pretrained_slice' has {source.conv.out_channels} maps, num_maps {num_maps} is too many")
    return {
        f'{part}.{name}': tensor[:num_maps].clone() if tensor.ndim else tensor.clone()
        for part in ('conv', 'bn') for name, tensor in getattr(source, part).state_dict().items()}


register_method(
    WSDAN,
    Paper('See Better Before Looking Closer', '1901.09891',
          'WS-DAN learns attention maps without part labels, trains on crops and drops of what they attend to, and '
          'predicts in two passes: over the image and over the attended object, enlarged.',
          'Hu, Qi, Huang, Lu: See Better Before Looking Closer: Weakly Supervised Data Augmentation Network for Fine-Grained Visual '
          'Classification. 2019'),
    {
        'inception_v3': Variant(
            "The paper's: Inception-v3, features from Mixed_6e (26x26 for 448 px), 32 maps from the pretrained slice.",
            args=dict(stage=-2, attention_init='pretrained_slice'),
            cfg=dict(input_size=448, min_input_size=(3, 299, 299), pool_size=(26, 26))),
        'resnet50': Variant('ResNet-50, features from its last stage (14x14 for 448 px).', cfg=dict(input_size=448)),
        'resnet101': Variant('ResNet-101, features from its last stage (14x14 for 448 px).', cfg=dict(input_size=448)),
        # Its 7x7 maps stay well above 0 beside the object, so the paper's threshold of 0.1 would take in nearly the
        # whole image. 0.5 is the middle of the crops in training, and was better on a held-out fifth of the training
        # photographs (cub50).
        'tf_efficientnet_lite0': Variant(
            'EfficientNet-Lite0: small and fast; 16 maps keep a checkpoint small: 15 MB for 200 classes in half precision.',
            args=dict(num_maps=16, refine_threshold=0.5)),
        'convnext_tiny': Variant('ConvNeXt-Tiny: a modern CNN; its features are signed.'),
        'vit_small_patch16_224': Variant(
            'ViT-S/16: the patch tokens are the map (14x14 for 224 px).', cfg=dict(pool_size=(14, 14))),
    })
