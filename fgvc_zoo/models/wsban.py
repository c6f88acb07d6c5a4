"""WS-BAN: weakly supervised bilinear attention network.

Hu et al., arXiv 1808.02152 (first version: WS-LAN). Attention maps pool the backbone's map part by part (bilinear attention pooling, shared
with WS-DAN); whole maps are dropped in training, so that no part answers alone. The mean over the maps, thresholded as class
activation maps are (largest connected region), gives the object's box; the box, enlarged, goes through the same network, and both
looks are classified jointly.

The description leaves open how the two looks are joined, the threshold and the dropout rate. Chosen here: the mean of both looks'
probabilities, a fifth of the maximum, a fifth of the maps.
"""

from typing import Any

import torch
from timm.models import generate_default_cfgs, register_model

from fgvc_zoo.checkpoints import trained_cfgs
from fgvc_zoo.models._backbone import Backbone
from fgvc_zoo.models._base import backbone_cfg, build, build_over
from fgvc_zoo.models._two_pass import TwoPassModel

__all__ = ['WSBAN']


class WSBAN(TwoPassModel):
    """WS-BAN over any timm backbone.

    Args:
        backbone: timm architecture.
        num_classes: Classes; 0 returns the classifier's input (B, M * C).
        in_chans: Input channels.
        global_pool: Bilinear attention pooling by 'avg' or 'max'; '' returns the map.
        img_size: Input side for backbones tied to one.
        num_maps: M, attention maps.
        stage: Backbone stage that gives the features; None is the last map before pooling.
        refine: Look twice in eval mode. False gives the single pass.
        refine_threshold: Fraction of the mean map's maximum that counts as object.
        refine_padding: Margin around the object, as a fraction of the image's sides.
        feature_scale: The unit-length embedding times this is the classifier's input, as in WS-DAN (see there for learning rates).
        attention_drop_rate: Share of the attention maps that are dropped whole in training, in [0, 1); the others are scaled
            up. The joint L2 normalisation behind it cancels the common factor.
        drop_rate: Dropout on the classifier's input.
        pretrained_backbone: True for the backbone's timm weights, or the path of a safetensors file with them.
        backbone_args: Further arguments of the timm backbone, e.g. `dict(output_stride=16)`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone, or a number is out of range.
    """

    def __init__(
            self,
            backbone: str = 'resnet50',
            num_classes: int = 1000,
            in_chans: int = 3,
            global_pool: str = 'avg',
            img_size: int | tuple[int, int] | None = None,
            num_maps: int = 128,
            stage: int | None = None,
            refine: bool = True,
            refine_threshold: float = 0.2,
            refine_padding: float = 0.05,
            feature_scale: float = 100.0,
            attention_drop_rate: float = 0.2,
            drop_rate: float = 0.0,
            pretrained_backbone: bool | str = False,
            backbone_args: dict[str, Any] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        body = Backbone(
            backbone, stage=stage, pretrained=pretrained_backbone, in_chans=in_chans, img_size=img_size, args=backbone_args,
            device=device, dtype=dtype)
        super().__init__(
            body, num_classes, in_chans, global_pool, num_maps, refine, refine_threshold, refine_padding, True, feature_scale,
            attention_drop_rate, drop_rate, device, dtype)


_PAPER: dict[str, Any] = dict(paper_name='Weakly Supervised Bilinear Attention Network', paper_ids='arXiv:1808.02152')
_CFGS = {
    'wsban': backbone_cfg('resnet50', pool_size=(7, 7), **_PAPER),
    'wsban_inception_v3': backbone_cfg('inception_v3', input_size=448, min_input_size=(3, 299, 299), pool_size=(26, 26), **_PAPER),
    'wsban_resnet50': backbone_cfg('resnet50', input_size=448, pool_size=(14, 14), **_PAPER),
    'wsban_tf_efficientnet_lite0': backbone_cfg('tf_efficientnet_lite0', pool_size=(7, 7), **_PAPER),
    'wsban_convnext_tiny': backbone_cfg('convnext_tiny', pool_size=(7, 7), **_PAPER),
    'wsban_vit_small_patch16_224': backbone_cfg('vit_small_patch16_224', pool_size=(14, 14), **_PAPER),
}
default_cfgs = generate_default_cfgs(trained_cfgs(_CFGS))


@register_model
def wsban(pretrained: bool = False, **kwargs: Any) -> WSBAN:
    """WS-BAN over any timm model: `timm.create_model('wsban', backbone='convnextv2_tiny')`."""
    return build_over(WSBAN, 'wsban', pretrained, kwargs)


@register_model
def wsban_inception_v3(pretrained: bool = False, **kwargs: Any) -> WSBAN:
    """The paper's backbone, features from Mixed_6e (26x26 for 448 px)."""
    return build(WSBAN, 'wsban_inception_v3', pretrained, kwargs, backbone='inception_v3', stage=-2)


@register_model
def wsban_resnet50(pretrained: bool = False, **kwargs: Any) -> WSBAN:
    """ResNet-50, features from its last stage (14x14 for 448 px)."""
    return build(WSBAN, 'wsban_resnet50', pretrained, kwargs, backbone='resnet50')


@register_model
def wsban_tf_efficientnet_lite0(pretrained: bool = False, **kwargs: Any) -> WSBAN:
    """EfficientNet-Lite0: small and fast; 16 maps keep a published checkpoint near 10 MB in half precision.

    As in WS-DAN over this backbone, half of the maximum is the threshold: its 7x7 maps stay well above 0 beside the object.
    """
    return build(
        WSBAN, 'wsban_tf_efficientnet_lite0', pretrained, kwargs, backbone='tf_efficientnet_lite0', num_maps=16, refine_threshold=0.5)


@register_model
def wsban_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> WSBAN:
    """ConvNeXt-Tiny: a modern CNN; its features are signed."""
    return build(WSBAN, 'wsban_convnext_tiny', pretrained, kwargs, backbone='convnext_tiny')


@register_model
def wsban_vit_small_patch16_224(pretrained: bool = False, **kwargs: Any) -> WSBAN:
    """ViT-S/16: the patch tokens are the map (14x14 for 224 px)."""
    return build(WSBAN, 'wsban_vit_small_patch16_224', pretrained, kwargs, backbone='vit_small_patch16_224')
