"""WS-DAN: weakly supervised data augmentation network.

Hu et al., "See Better Before Looking Closer", arXiv 1901.09891. A 1x1 convolution turns the backbone's map into M attention maps; each
map pools the features once (bilinear attention pooling); the M x C matrix is the classifier's input. Inference looks twice: the mean
attention map gives the object's box, the box is enlarged and classified again, and the probabilities of both looks are averaged.

How it is trained (attention-guided crops and drops, attention regularisation) is the task's part, not the model's.
"""

from typing import Any

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor

from fgvc_zoo._errors import UserError, check_choice
from fgvc_zoo.checkpoints import trained_cfgs
from fgvc_zoo.models._backbone import Backbone
from fgvc_zoo.models._base import backbone_cfg, build, build_over
from fgvc_zoo.models._two_pass import TwoPassModel

__all__ = ['WSDAN']

ATTENTION_INITS = ('new', 'pretrained_slice')


class WSDAN(TwoPassModel):
    """WS-DAN over any timm backbone.

    Args:
        backbone: timm architecture.
        num_classes: Classes; 0 returns the classifier's input (B, M * C).
        in_chans: Input channels.
        global_pool: Bilinear attention pooling by 'avg' (the public code; section 3.2 leaves it open) or 'max' (the paper's
            figure); '' returns the map.
        img_size: Input side for backbones tied to one.
        num_maps: M, attention maps.
        stage: Backbone stage that gives the features; None is the last map before pooling.
        attention_init: 'new' initialises the 1x1 convolution at random. 'pretrained_slice' starts from the first M channels of
            the pretrained 1x1 convolution that opens Inception-v3's Mixed_7a, as the authors' code does; it needs
            `backbone='inception_v3'`, `stage=-2` (Mixed_6e) and M <= 192.
        refine: Look twice in eval mode. False gives the single pass.
        refine_threshold: Fraction of the mean map's maximum that counts as object.
        refine_padding: Margin around the object, as a fraction of the image's sides.
        feature_scale: The unit-length embedding times this is the classifier's input; the authors' constant. Training fails
            without it, since a unit vector of that many entries gives no useful gradients; with it the classifier's are large, and
            SGD at 0.01 diverges where 0.001 or the recipe's smaller rate for the classifier does not.
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
            num_maps: int = 32,
            stage: int | None = None,
            attention_init: str = 'new',
            refine: bool = True,
            refine_threshold: float = 0.1,
            refine_padding: float = 0.05,
            feature_scale: float = 100.0,
            drop_rate: float = 0.0,
            pretrained_backbone: bool | str = False,
            backbone_args: dict[str, Any] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        check_choice('attention_init', attention_init, ATTENTION_INITS)
        slices: list[dict[str, Tensor]] = []

        def keep_slice(model: Any) -> None:
            slices.append(_mixed_7a_slice(model, stage, num_maps))

        body = Backbone(
            backbone, stage=stage, pretrained=pretrained_backbone, in_chans=in_chans, img_size=img_size, args=backbone_args,
            before_pruning=keep_slice if attention_init == 'pretrained_slice' else None, device=device, dtype=dtype)
        super().__init__(
            body, num_classes, in_chans, global_pool, num_maps, refine, refine_threshold, refine_padding, False, feature_scale,
            0.0, drop_rate, device, dtype)
        if slices:
            self.attention.load_state_dict(slices[0])


def _mixed_7a_slice(model: Any, stage: int | None, num_maps: int) -> dict[str, Tensor]:
    """The first channels of the 1x1 convolution and batch norm that open Inception-v3's Mixed_7a, as AttentionMaps' state."""
    if not hasattr(model, 'Mixed_7a') or stage not in (-2, 3):
        raise UserError("attention_init 'pretrained_slice' needs backbone 'inception_v3' at stage -2 (Mixed_6e)")
    source = model.Mixed_7a.branch3x3_1
    if num_maps > source.conv.out_channels:
        raise UserError(f"attention_init 'pretrained_slice' has {source.conv.out_channels} maps, so num_maps {num_maps} is too many")
    return {
        f'{part}.{name}': tensor[:num_maps].clone() if tensor.ndim else tensor.clone()
        for part in ('conv', 'bn') for name, tensor in getattr(source, part).state_dict().items()}


_PAPER: dict[str, Any] = dict(paper_name='See Better Before Looking Closer', paper_ids='arXiv:1901.09891')
_CFGS = {
    'wsdan': backbone_cfg('resnet50', pool_size=(7, 7), **_PAPER),
    'wsdan_inception_v3': backbone_cfg('inception_v3', input_size=448, min_input_size=(3, 299, 299), pool_size=(26, 26), **_PAPER),
    'wsdan_resnet50': backbone_cfg('resnet50', input_size=448, pool_size=(14, 14), **_PAPER),
    'wsdan_resnet101': backbone_cfg('resnet101', input_size=448, pool_size=(14, 14), **_PAPER),
    'wsdan_tf_efficientnet_lite0': backbone_cfg('tf_efficientnet_lite0', pool_size=(7, 7), **_PAPER),
    'wsdan_convnext_tiny': backbone_cfg('convnext_tiny', pool_size=(7, 7), **_PAPER),
    'wsdan_vit_small_patch16_224': backbone_cfg('vit_small_patch16_224', pool_size=(14, 14), **_PAPER),
}
default_cfgs = generate_default_cfgs(trained_cfgs(_CFGS))


@register_model
def wsdan(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """WS-DAN over any timm model: `timm.create_model('wsdan', backbone='convnextv2_tiny')`."""
    return build_over(WSDAN, 'wsdan', pretrained, kwargs)


@register_model
def wsdan_inception_v3(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """The paper's model: Inception-v3, features from Mixed_6e (26x26 for 448 px), 32 maps from the pretrained slice."""
    return build(WSDAN, 'wsdan_inception_v3', pretrained, kwargs, backbone='inception_v3', stage=-2, attention_init='pretrained_slice')


@register_model
def wsdan_resnet50(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """ResNet-50, features from its last stage (14x14 for 448 px)."""
    return build(WSDAN, 'wsdan_resnet50', pretrained, kwargs, backbone='resnet50')


@register_model
def wsdan_resnet101(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """ResNet-101, features from its last stage (14x14 for 448 px)."""
    return build(WSDAN, 'wsdan_resnet101', pretrained, kwargs, backbone='resnet101')


@register_model
def wsdan_tf_efficientnet_lite0(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """EfficientNet-Lite0: small and fast; 16 maps keep a published checkpoint near 10 MB in half precision.

    Its 7x7 maps stay well above 0 beside the object, so the paper's refine threshold of 0.1 would take in nearly the whole image. 0.5 is
    the middle of the crops seen in training, and was better on a held-back fifth of the training photographs (cub50).
    """
    return build(
        WSDAN, 'wsdan_tf_efficientnet_lite0', pretrained, kwargs, backbone='tf_efficientnet_lite0', num_maps=16, refine_threshold=0.5)


@register_model
def wsdan_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """ConvNeXt-Tiny: a modern CNN; its features are signed."""
    return build(WSDAN, 'wsdan_convnext_tiny', pretrained, kwargs, backbone='convnext_tiny')


@register_model
def wsdan_vit_small_patch16_224(pretrained: bool = False, **kwargs: Any) -> WSDAN:
    """ViT-S/16: the patch tokens are the map (14x14 for 224 px)."""
    return build(WSDAN, 'wsdan_vit_small_patch16_224', pretrained, kwargs, backbone='vit_small_patch16_224')
