"""API-Net: attentive pairwise interaction network.

Zhuang et al., "Learning Attentive Pairwise Interaction for Fine-Grained Classification", AAAI 2020, arXiv 2002.10191.
It is trained on pairs of similar images; a gate made from both images weighs the features of each. Inference has a
single image: it is the classifier on the pooled feature and costs what the backbone costs. Pairs and gates are in the
task.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from fgvc_zoo.layers import half_maximum_boxes
from fgvc_zoo.models.base import CONTRAST_MAPS, Explanation, FineGrainedModel, Paper
from fgvc_zoo.models.registry import Variant, register_method


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

    `global_pool` is 'avg' (the paper) or 'max'. `drop_rate` is for `forward`; the task has its own dropout for the
    features of pairs.

    Args:
        shared: Arguments of `FineGrainedModel`.
    """

    method = 'apinet'
    pools = ('avg', 'max')

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        self.add_classifier(self.num_features)

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
    def forward_explained(self, x: Tensor) -> tuple[Tensor, Explanation]:
        """Logits; the class activation map of the predicted class, where positive, and the box where it is at least
        half of its maximum; what speaks for the best class against the second one, and for the second against the best (see `contrast`).

        Raises:
            UserError: The model has no classes.
        """
        features = self.forward_features(x)
        embedded = self.embed(features)
        maps = (self.favoured_weights(embedded)[:, :, None, None] * features.float()).sum(1, keepdim=True).relu()
        names = ['class activation']
        boxes = half_maximum_boxes(maps, x.shape[2], x.shape[3])
        logits = self.classifier(self.drop(embedded))
        if self.num_classes > 1:
            best = logits.topk(2).indices
            maps = torch.cat([maps, self._contrast(features, best[:, 0], best[:, 1])], 1)
            names += CONTRAST_MAPS
        return logits, Explanation(maps, boxes, names, names[:1])

    @torch.jit.ignore
    @torch.no_grad()
    def contrast(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """What tells two classes apart in an image, with the class activation maps of both.

        Args:
            x: Images (B, in_chans, H, W), normalised.
            first: A class index of each image (B,).
            second: Another (B,).

        Returns:
            (B, 2, h, w) float32, >= 0: what each position adds to the first class's logit beyond the second's, and the reverse. With
            'avg', the mean over positions of the first map minus the second is the difference of the logits, up to that of the biases.

        Raises:
            UserError: The model has no classes.
        """
        return self._contrast(self.forward_features(x), first, second)

    def _contrast(self, features: Tensor, first: Tensor, second: Tensor) -> Tensor:
        weight = self.class_weights()
        difference = ((weight[first] - weight[second])[:, :, None, None] * features.float()).sum(1)
        return torch.stack([difference.relu(), (-difference).relu()], 1)


register_method(
    APINet,
    Paper('Learning Attentive Pairwise Interaction for Fine-Grained Classification', '2002.10191',
          'API-Net is trained on pairs of similar images, whose differences gate the features of both; inference takes '
          'a single image.',
          'Zhuang, Wang, Qiao: Learning Attentive Pairwise Interaction for Fine-Grained Classification. AAAI 2020'),
    {
        'resnet50': Variant("The paper's ResNet-50 (14x14 for 448 px).", cfg=dict(input_size=448)),
        'resnet101': Variant("The paper's ResNet-101 (14x14 for 448 px).", cfg=dict(input_size=448)),
        'densenet161': Variant("The paper's DenseNet-161 (14x14 for 448 px).", cfg=dict(input_size=448)),
        'tf_efficientnet_lite0': Variant(
            'EfficientNet-Lite0: small and fast; a published checkpoint takes 7 MB in half precision.'),
        'convnext_tiny': Variant('ConvNeXt-Tiny: a modern CNN; its features are signed.'),
        'vit_small_patch16_224': Variant(
            'ViT-S/16: the patch tokens are the map (14x14 for 224 px).', cfg=dict(pool_size=(14, 14))),
    })
