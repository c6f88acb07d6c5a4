"""Look, find the object, look again: what WS-DAN and WS-BAN have in common.

A 1x1 convolution turns the backbone's map into M attention maps; each map pools the features once (bilinear attention pooling); the
M x C matrix is the classifier's input. The attended object is enlarged and classified by the same network, and the probabilities of
both looks are averaged.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from fgvc_zoo._errors import check_range
from fgvc_zoo.layers import AttentionMaps, attention_embedding, crop_boxes, object_box
from fgvc_zoo.models._backbone import Backbone
from fgvc_zoo.models._base import Explanation, FineGrainedModel, Passes, mean_prediction


class PassOutput(NamedTuple):
    """What training needs of one pass.

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

    Args:
        backbone: The `Backbone`.
        num_classes: Classes; 0 returns the classifier's input (B, M * C).
        in_chans: Input channels.
        global_pool: Bilinear attention pooling by 'avg' or 'max'; '' returns the map.
        num_maps: M, attention maps.
        refine: Look twice in eval mode. False gives the single pass.
        refine_threshold: Fraction of the mean map's maximum that counts as object.
        refine_padding: Margin around the object, as a fraction of the image's sides.
        connected: Only the largest connected region is the object.
        feature_scale: The unit-length embedding times this is the classifier's input.
        attention_drop_rate: Share of the attention maps that are dropped whole in training.
        drop_rate: Dropout on the classifier's input.
    """

    def __init__(
            self,
            backbone: Backbone,
            num_classes: int,
            in_chans: int,
            global_pool: str,
            num_maps: int,
            refine: bool,
            refine_threshold: float,
            refine_padding: float,
            connected: bool,
            feature_scale: float,
            attention_drop_rate: float,
            drop_rate: float,
            device: torch.device | str | None,
            dtype: torch.dtype | None,
    ) -> None:
        check_range('num_maps', num_maps, 1)
        check_range('refine_threshold', refine_threshold, 0, 1, exclude=(0, 1))
        check_range('refine_padding', refine_padding, 0)
        check_range('feature_scale', feature_scale, 0, exclude=(0,))
        check_range('attention_drop_rate', attention_drop_rate, 0, 1, exclude=(1,))
        super().__init__(
            backbone, num_maps * backbone.num_features, num_classes, in_chans, global_pool, ('avg', 'max'), drop_rate, device, dtype)
        self.num_maps = num_maps
        self.refine = refine
        self.refine_threshold = refine_threshold
        self.refine_padding = refine_padding
        self.connected = connected
        self.feature_scale = feature_scale
        self.attention: nn.Module = AttentionMaps(backbone.num_features, num_maps, device=device, dtype=dtype)
        self.attention_drop = nn.Dropout2d(attention_drop_rate)

    def object_box(self, attention: Tensor, height: int, width: int) -> Tensor:
        """Attention maps (B, M, h, w) of images of height x width pixels -> the attended object (B, 4), unit xyxy coordinates."""
        return object_box(attention, height, width, self.refine_threshold, self.refine_padding, self.connected)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, C, h, w) -> part features (B, M * C), length `feature_scale`, in the map's dtype."""
        embedding = attention_embedding(features, self.attention_drop(self.attention(features)), self.global_pool)
        return (embedding * self.feature_scale).to(features.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> logits (B, num_classes).

        In eval mode with `refine`, the log of the mean of both passes' probabilities; their softmax is that mean.
        """
        features = self.forward_features(x)
        if self.training or not self.refine or self.num_classes == 0 or self.global_pool == '':
            return self.forward_head(features)
        boxes = self.object_box(self.attention(features), x.shape[2], x.shape[3])
        crops = crop_boxes(x, boxes, x.shape[2], x.shape[3])
        return mean_prediction(self.forward_head(features), self.forward_head(self.forward_features(crops)))

    @torch.jit.ignore
    def forward_parts(self, x: Tensor) -> PassOutput:
        """One pass over images (B, in_chans, H, W), with what the losses need."""
        features = self.forward_features(x)
        attention = self.attention(features)
        embedding = attention_embedding(features, self.attention_drop(attention), self.global_pool)
        logits = self.classifier(self.drop((embedding * self.feature_scale).to(features.dtype)))
        return PassOutput(logits, embedding, attention)

    @torch.jit.ignore
    def forward_passes(self, x: Tensor) -> Passes:
        """Both passes of the inference, apart ('raw', 'refined') and together, whatever `refine` says."""
        raw = self.forward_parts(x)
        boxes = self.object_box(raw.attention, x.shape[2], x.shape[3])
        refined = self.forward_parts(crop_boxes(x, boxes, x.shape[2], x.shape[3])).logits
        return Passes(mean_prediction(raw.logits, refined), dict(raw=raw.logits, refined=refined), boxes)

    @torch.jit.ignore
    @torch.no_grad()
    def explain(self, x: Tensor) -> Explanation:
        """The attention maps of the first pass, their mean, and the box of the second."""
        attention = self.attention(self.forward_features(x)).float()
        maps = torch.cat([attention.mean(1, keepdim=True), attention], dim=1)
        names = ['mean', *(f'map {index}' for index in range(self.num_maps))]
        return Explanation(maps, self.object_box(attention, x.shape[2], x.shape[3])[:, None], names, ['object'])

    def _remove_head(self) -> None:
        super()._remove_head()
        self.attention = nn.Identity()
