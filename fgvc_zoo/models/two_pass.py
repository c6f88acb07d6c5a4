"""Two forward passes, the second one over the attended object: what WS-DAN and WS-BAN share.

A 1x1 convolution turns the backbone's map into M attention maps; each map pools the features once (bilinear attention
pooling); the M x C matrix is the classifier's input. The attended object is cropped, enlarged and classified by the
same network, and the probabilities of both passes are averaged.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fgvc_zoo._errors import check_range
from fgvc_zoo.layers import AttentionMaps, attention_embedding, crop_boxes, mean_prediction, object_box
from fgvc_zoo.models.base import Explanation, FineGrainedModel, Passes


class PassOutput(NamedTuple):
    """One forward pass.

    Attributes:
        logits: (B, num_classes).
        embedding: The part features, flattened, of unit length: (B, M * C) float32.
        attention: Attention maps (B, M, h, w), >= 0, as they come from the convolution.
    """

    logits: Tensor
    embedding: Tensor
    attention: Tensor


class TwoPassModel(FineGrainedModel):
    """Bilinear attention pooling over a backbone, with two-pass inference.

    `global_pool` is how attention pools: 'avg', or 'max'.

    Args:
        num_maps: M, attention maps.
        refine_threshold: Fraction of the mean map's maximum that counts as object, in (0, 1).
        refine: Run both passes in eval mode. False gives the single pass.
        refine_padding: Margin around the object, as a fraction of the image's sides.
        connected: Only the largest connected region is the object.
        feature_scale: The unit-length embedding times this is the classifier's input; 100 as in WS-DAN's code. Training
            fails without it: the entries of a long unit vector are too small for useful gradients. With it the
            classifier's gradients are large: SGD at 0.01 diverges, 0.001 or the recipe's rate for the classifier does
            not.
        attention_drop_rate: Share of the attention maps that are dropped whole in training, in [0, 1).
        pass_size: Side in pixels of what the network sees in both passes; 0 for that of the images. The first pass sees the
            images reduced to it, the object is cut from the images as they are: a sharp crop at the cost of small inputs.
        shared: Arguments of `FineGrainedModel`.

    Raises:
        UserError: A choice does not exist or does not fit the backbone, or a number is out of range.
    """

    pools = ('avg', 'max')

    def __init__(
            self,
            num_maps: int,
            refine_threshold: float,
            refine: bool = True,
            refine_padding: float = 0.05,
            connected: bool = False,
            feature_scale: float = 100.0,
            attention_drop_rate: float = 0.0,
            pass_size: int = 0,
            **shared: Any,
    ) -> None:
        check_range('num_maps', num_maps, 1)
        check_range('refine_threshold', refine_threshold, 0, 1, exclude=(0, 1))
        check_range('refine_padding', refine_padding, 0)
        check_range('feature_scale', feature_scale, 0, exclude=(0,))
        check_range('attention_drop_rate', attention_drop_rate, 0, 1, exclude=(1,))
        check_range('pass_size', pass_size, 0)
        super().__init__(**shared)
        self.add_classifier(num_maps * self.num_features)
        self.num_maps = num_maps
        self.refine = refine
        self.pass_size = pass_size
        self.refine_threshold = refine_threshold
        self.refine_padding = refine_padding
        self.connected = connected
        self.feature_scale = feature_scale
        self.attention: nn.Module = AttentionMaps(self.num_features, num_maps, **self.like_backbone())
        self.attention_drop = nn.Dropout2d(attention_drop_rate)

    def view(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) as the network sees them: reduced to `pass_size`, or as they are."""
        if self.pass_size == 0:
            return x
        return F.interpolate(x, (self.pass_size, self.pass_size), mode='area')

    def object_box(self, attention: Tensor, height: int, width: int) -> Tensor:
        """Attention maps (B, M, h, w) of images of height x width pixels -> the attended object (B, 4), unit xyxy
        coordinates."""
        return object_box(attention, height, width, self.refine_threshold, self.refine_padding, self.connected)

    def embed_parts(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, C, h, w) -> the classifier's input (B, M * C) in the map's dtype; its unit-length form; the attention
        maps."""
        attention = self.attention(features)
        embedding = attention_embedding(features, self.attention_drop(attention), self.global_pool)
        return (embedding * self.feature_scale).to(features.dtype), embedding, attention

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> part features (B, M * C), length `feature_scale`, in the map's dtype."""
        return self.embed_parts(features)[0]

    def forward_parts(self, x: Tensor) -> PassOutput:
        """One pass over what the network sees (B, in_chans, H, W), with what the losses need."""
        head_input, embedding, attention = self.embed_parts(self.forward_features(x))
        return PassOutput(self.classifier(self.drop(head_input)), embedding, attention)

    def first_pass(self, x: Tensor) -> tuple[PassOutput, Tensor]:
        """Images (B, in_chans, H, W) -> the pass over the whole images, the boxes of their attended objects (B, 4)."""
        raw = self.forward_parts(self.view(x))
        return raw, self.object_box(raw.attention, x.shape[2], x.shape[3])

    def two_passes(self, x: Tensor) -> tuple[PassOutput, Tensor, Tensor]:
        """Images (B, in_chans, H, W) -> the pass over the whole images, logits of their attended objects, the objects'
        boxes (B, 4)."""
        raw, boxes = self.first_pass(x)
        refined = self.forward_parts(self.view(crop_boxes(x, boxes, x.shape[2], x.shape[3])))
        return raw, refined.logits, boxes

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> logits (B, num_classes).

        In eval mode with `refine`, the log of the mean of both passes' probabilities; their softmax is that mean.
        """
        if self.training or not self.refine or self.num_classes == 0 or self.global_pool == '':
            return self.forward_head(self.forward_features(self.view(x)))
        raw, refined, _ = self.two_passes(x)
        return mean_prediction([raw.logits, refined])

    @torch.jit.ignore
    def forward_passes(self, x: Tensor) -> Passes:
        """Both passes of the inference, apart ('raw', 'refined') and together; without `refine`, the only one and the object's box."""
        if not self.refine:
            raw, boxes = self.first_pass(x)
            return Passes(raw.logits, {}, boxes)
        raw, refined, boxes = self.two_passes(x)
        return Passes(mean_prediction([raw.logits, refined]), dict(raw=raw.logits, refined=refined), boxes)

    @torch.jit.ignore
    @torch.no_grad()
    def explain(self, x: Tensor) -> Explanation:
        """The attention maps of the first pass, their mean, and the box of the second."""
        attention = self.attention(self.forward_features(self.view(x)))
        return self._explanation(attention, self.object_box(attention, x.shape[2], x.shape[3]))

    @torch.jit.ignore
    @torch.no_grad()
    def forward_explained(self, x: Tensor) -> tuple[Tensor, Explanation]:
        """`forward` in eval mode and `explain`, from the passes of the inference."""
        if self.refine:
            raw, refined, boxes = self.two_passes(x)
            explanation = self._explanation(raw.attention, boxes)
            return mean_prediction([raw.logits, refined]), explanation._replace(looks={'whole image': raw.logits, 'object': refined})
        raw, boxes = self.first_pass(x)
        return raw.logits, self._explanation(raw.attention, boxes)

    def _explanation(self, attention: Tensor, boxes: Tensor) -> Explanation:
        maps = torch.cat([attention.mean(1, keepdim=True), attention], dim=1).float()
        names = ['mean', *(f'map {index}' for index in range(self.num_maps))]
        return Explanation(maps, boxes[:, None], names, ['object'])

    def _remove_head(self) -> None:
        super()._remove_head()
        self.attention = nn.Identity()
