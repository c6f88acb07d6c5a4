"""API-Net: attentive pairwise interaction network.

Zhuang et al., "Learning Attentive Pairwise Interaction for Fine-Grained Classification", AAAI 2020, arXiv 2002.10191. Trained on pairs of
images that are hard to tell apart, each seen through its own and through the other's gate. Inference has nothing to compare with: it is
the classifier on the pooled feature and costs what the backbone costs. The pairs are a loss's business, so what they need is the
task's part, not the model's.
"""

from typing import Any, NamedTuple

import torch
from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

from fgvc_zoo._errors import UserError
from fgvc_zoo.checkpoints import trained_cfgs
from fgvc_zoo.layers import attention_box
from fgvc_zoo.models._backbone import Backbone
from fgvc_zoo.models._base import Explanation, FineGrainedModel, backbone_cfg, build, build_over

__all__ = ['APINet']


class APINetOutput(NamedTuple):
    """What training needs of one pass.

    Attributes:
        logits: Of the plain inference, (B, num_classes).
        features: x, the pooled map (B, num_features).
    """

    logits: Tensor
    features: Tensor


class APINet(FineGrainedModel):
    """API-Net over any timm backbone.

    Args:
        backbone: timm architecture.
        num_classes: Classes; 0 returns the pooled feature.
        in_chans: Input channels.
        global_pool: 'avg' (the paper) or 'max'; '' returns the map.
        img_size: Input side for backbones tied to one.
        stage: Backbone stage that gives the map; None is the last map before pooling.
        drop_rate: Dropout on the classifier's input in `forward`; the task has its own for the features of pairs.
        pretrained_backbone: True for the backbone's timm weights, or the path of a safetensors file with them.
        backbone_args: Further arguments of the timm backbone, e.g. `dict(output_stride=16)`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone.
    """

    def __init__(
            self,
            backbone: str = 'resnet50',
            num_classes: int = 1000,
            in_chans: int = 3,
            global_pool: str = 'avg',
            img_size: int | tuple[int, int] | None = None,
            stage: int | None = None,
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
            body, body.num_features, num_classes, in_chans, global_pool, ('avg', 'max'), drop_rate, device, dtype)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> its mean, or its maximum, over positions (B, C)."""
        return features.amax((2, 3)) if self.global_pool == 'max' else features.mean((2, 3))

    @torch.jit.ignore
    def forward_parts(self, x: Tensor) -> APINetOutput:
        """Images (B, in_chans, H, W), with what the losses need."""
        pooled = self.embed(self.forward_features(x))
        return APINetOutput(self.classifier(self.drop(pooled)), pooled)

    @torch.jit.ignore
    @torch.no_grad()
    def explain(self, x: Tensor) -> Explanation:
        """The class activation map of the predicted class, and the box where it is at least half its maximum.

        The map is the feature map weighed by the class's row of the classifier, where it is positive (Zhou et al., arXiv 1512.04150). The
        mean of all rows is taken away first: what the classes have in common changes no probability.

        Raises:
            UserError: The model has no classes.
        """
        if not isinstance(self.classifier, nn.Linear):
            raise UserError('explaining an API-Net model needs its classifier, and this one has no classes')
        features = self.forward_features(x)
        predicted = self.classifier(self.embed(features)).argmax(1)
        weight = self.classifier.weight.float()
        favour = (weight - weight.mean(0))[predicted]
        activation = (favour[:, :, None, None] * features.float()).sum(1).relu()
        half = torch.tensor(0.5, device=activation.device)
        boxes = attention_box(activation, half, 0.0, x.shape[2], x.shape[3])
        names = ['class activation']
        return Explanation(activation[:, None], boxes[:, None], names, names)


_PAPER: dict[str, Any] = dict(
    paper_name='Learning Attentive Pairwise Interaction for Fine-Grained Classification', paper_ids='arXiv:2002.10191')
_CFGS = {
    'apinet': backbone_cfg('resnet50', pool_size=(7, 7), **_PAPER),
    'apinet_resnet50': backbone_cfg('resnet50', input_size=448, pool_size=(14, 14), **_PAPER),
    'apinet_resnet101': backbone_cfg('resnet101', input_size=448, pool_size=(14, 14), **_PAPER),
    'apinet_densenet161': backbone_cfg('densenet161', input_size=448, pool_size=(14, 14), **_PAPER),
    'apinet_tf_efficientnet_lite0': backbone_cfg('tf_efficientnet_lite0', pool_size=(7, 7), **_PAPER),
    'apinet_convnext_tiny': backbone_cfg('convnext_tiny', pool_size=(7, 7), **_PAPER),
    'apinet_vit_small_patch16_224': backbone_cfg('vit_small_patch16_224', pool_size=(14, 14), **_PAPER),
}
default_cfgs = generate_default_cfgs(trained_cfgs(_CFGS))


@register_model
def apinet(pretrained: bool = False, **kwargs: Any) -> APINet:
    """API-Net over any timm model: `timm.create_model('apinet', backbone='convnextv2_tiny')`."""
    return build_over(APINet, 'apinet', pretrained, kwargs)


@register_model
def apinet_resnet50(pretrained: bool = False, **kwargs: Any) -> APINet:
    """The paper's ResNet-50 (14x14 for 448 px)."""
    return build(APINet, 'apinet_resnet50', pretrained, kwargs, backbone='resnet50')


@register_model
def apinet_resnet101(pretrained: bool = False, **kwargs: Any) -> APINet:
    """The paper's ResNet-101 (14x14 for 448 px)."""
    return build(APINet, 'apinet_resnet101', pretrained, kwargs, backbone='resnet101')


@register_model
def apinet_densenet161(pretrained: bool = False, **kwargs: Any) -> APINet:
    """The paper's DenseNet-161 (14x14 for 448 px)."""
    return build(APINet, 'apinet_densenet161', pretrained, kwargs, backbone='densenet161')


@register_model
def apinet_tf_efficientnet_lite0(pretrained: bool = False, **kwargs: Any) -> APINet:
    """EfficientNet-Lite0: small and fast; a published checkpoint takes 7 MB in half precision."""
    return build(APINet, 'apinet_tf_efficientnet_lite0', pretrained, kwargs, backbone='tf_efficientnet_lite0')


@register_model
def apinet_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> APINet:
    """ConvNeXt-Tiny: a modern CNN; its features are signed."""
    return build(APINet, 'apinet_convnext_tiny', pretrained, kwargs, backbone='convnext_tiny')


@register_model
def apinet_vit_small_patch16_224(pretrained: bool = False, **kwargs: Any) -> APINet:
    """ViT-S/16: the patch tokens are the map (14x14 for 224 px)."""
    return build(APINet, 'apinet_vit_small_patch16_224', pretrained, kwargs, backbone='vit_small_patch16_224')
