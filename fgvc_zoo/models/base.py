"""timm's model contract and the arguments that every method shares, written once.

A method is a subclass of `FineGrainedModel`: it states its own arguments, adds its layers and implements `embed`, which
turns the backbone's map into the classifier's input. All that timm, the Hub and transformers ask of a model is here.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import torch
from timm.models import group_parameters
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo.layers import half_maximum_boxes, response_map
from fgvc_zoo.models.backbone import Backbone

# entries of timm's pretrained_cfg that are true of one trained classifier only
TRAINED_HEAD = ('label_names', 'label_descriptions', 'tag', 'license', 'description')

# names of maps of what tells the most probable class and the next one apart; a prediction has the names of the classes in their place
CONTRAST_MAPS = ('for the first class', 'for the second class')


class Paper(NamedTuple):
    """The publication of a method.

    Attributes:
        name: Its title.
        arxiv: Its arXiv id, such as '1901.09891'; '' if it is not on arXiv.
        idea: The method in one sentence, for the model card.
        citation: Authors, title, venue and year; '' if it is not given.
    """

    name: str
    arxiv: str
    idea: str
    citation: str = ''


class Explanation(NamedTuple):
    """What a model attended to.

    Attributes:
        maps: Attention maps (B, M, h, w), float32, >= 0; `map_names` are M names. The first is the whole attention, the others, if any,
            are its parts.
        boxes: Attended regions (B, K, 4), float32, xyxy in unit coordinates; `box_names` are K names.
        looks: What each part of the inference predicts alone, logits or log probabilities (B, num_classes), by name and in order; empty
            for a single forward pass.
    """

    maps: Tensor
    boxes: Tensor
    map_names: list[str]
    box_names: list[str]
    looks: Mapping[str, Tensor] = MappingProxyType({})


class Passes(NamedTuple):
    """An inference and the predictions that it combines; each is evaluated separately.

    Attributes:
        combined: What `forward` returns in eval mode: logits or log probabilities (B, num_classes).
        parts: Further predictions by name, logits or log probabilities (B, num_classes); empty for a single forward pass.
        boxes: The attended object (B, 4), xyxy in unit coordinates; None for a method without one.
    """

    combined: Tensor
    parts: dict[str, Tensor]
    boxes: Tensor | None


class FineGrainedModel(nn.Module):
    """A timm backbone, a method's embedding of its map, one linear classifier.

    A subclass sets `method` and, if it pools in several ways, `pools`. Its `__init__` takes its own arguments and
    `**shared`, calls `super().__init__(**shared)`, then `add_classifier`, then adds its layers. `register_method` makes
    it available to timm.

    Attributes:
        method: The method's name; the first part of its models' names.
        paper: Set by `register_method`.
        pools: Values of `global_pool` besides ''.
        backbone: The `Backbone`.
        backbone_name: timm architecture of the backbone.
        num_classes: Classes; 0 means that `forward` returns the embedding.
        num_features: Channels of `forward_features`' map.
        head_hidden_size: Width of the classifier's input.
        global_pool: How `embed` pools; '' makes `forward` return the map.
        feature_info: Stages of the backbone, as timm describes them.

    Args:
        backbone: timm architecture, with or without tag.
        num_classes: Classes; 0 returns the classifier's input.
        in_chans: Input channels.
        global_pool: One of `pools`, or '' to return the map.
        img_size: Input side in pixels, for backbones that are tied to one (plain ViTs).
        stage: Backbone stage that gives the map; None is the last map before pooling.
        drop_rate: Dropout on the classifier's input.
        pretrained_backbone: True for the backbone's timm weights, or the path of a safetensors file with them.
        backbone_args: Further arguments of the timm backbone, such as `dict(output_stride=16)`.
        before_pruning: For subclasses: called with the timm backbone before the layers behind the map are removed.
        device: Device of the parameters.
        dtype: Their dtype.

    Raises:
        UserError: A choice does not exist or does not fit the backbone.
    """

    method: ClassVar[str] = ''
    paper: ClassVar[Paper]
    pools: ClassVar[tuple[str, ...]] = ('avg',)

    pretrained_cfg: dict[str, Any]  # set by timm's builder, as the next
    _model_args: dict[str, Any]

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
            before_pruning: Callable[[nn.Module], None] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._set_pool(global_pool)
        self.backbone = Backbone(
            backbone, stage=stage, pretrained=pretrained_backbone, in_chans=in_chans, img_size=img_size,
            args=backbone_args, before_pruning=before_pruning, device=device, dtype=dtype)
        self.backbone_name: str = self.backbone.pretrained_cfg['architecture']
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = self.backbone.num_features
        self.head_hidden_size = self.num_features
        self.drop = nn.Dropout(drop_rate)
        self.feature_info = [{**info, 'module': f"backbone.{info['module']}"} for info in self.backbone.feature_info]
        self.classifier: nn.Module = nn.Identity()

    def add_classifier(self, width: int) -> None:
        """Create the classifier over `embed`'s output (B, width). Every subclass calls this once in its `__init__`."""
        self.head_hidden_size = width
        self.classifier = self.linear(width)

    def linear(self, in_features: int) -> nn.Module:
        """A new classifier (B, in_features) -> (B, num_classes); nn.Identity without classes."""
        if self.num_classes == 0:
            return nn.Identity()
        return nn.Linear(in_features, self.num_classes, **self.like_backbone())

    def like_backbone(self) -> dict[str, Any]:
        """`device` and `dtype` for layers beside the backbone."""
        reference = next(self.backbone.parameters())
        return dict(device=reference.device, dtype=reference.dtype)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, num_features, h, w) -> classifier input (B, head_hidden_size)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> the backbone's map (B, num_features, h, w)."""
        return self.backbone(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map -> logits (B, num_classes), or the classifier's input if `pre_logits` or without classes.

        With `global_pool=''` the map is returned as it is.
        """
        if self.global_pool == '':
            return x
        embedded = self.embed(x)
        if pre_logits:
            return embedded
        return self.classifier(self.drop(embedded))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> logits (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def _set_pool(self, global_pool: str) -> None:
        if global_pool not in (*self.pools, ''):
            raise UserError(f"global_pool '{global_pool}' is not known{nearest(global_pool, self.pools)} "
                            f"(choose from {', '.join(map(repr, self.pools))} or '')")
        self.global_pool = global_pool

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        """The linear classifier, or nn.Identity without classes."""
        return self.classifier

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by one of the same device, dtype and mode; change the pooling if it is given."""
        if global_pool is not None:
            self._set_pool(global_pool)
        self.num_classes = num_classes
        self.classifier = self.linear(self.head_hidden_size).train(self.training)
        self.calibration = None  # of the former classifier, where it was loaded
        self.forget_trained_head()

    @torch.jit.ignore
    def forget_trained_head(self) -> None:
        """Drop from `pretrained_cfg` what belongs to a trained classifier, which the model no longer has.

        These are the names of the classes, and the tag, licence and description of the weights.
        """
        cfg = getattr(self, 'pretrained_cfg', {})
        if cfg.get('label_names'):
            for key in TRAINED_HEAD:
                cfg.pop(key, None)
            cfg['num_classes'] = self.num_classes

    def _networks(self) -> dict[str, Any]:
        """The timm model of every `Backbone` in the model, by the prefix of its parameters."""
        return {f'{name}.model': module.model for name, module in self.named_modules() if isinstance(module, Backbone)}

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in every backbone (raises where the backbone cannot)."""
        for network in self._networks().values():
            network.set_grad_checkpointing(enable)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Depth of every parameter for layer-wise learning rates: each backbone's own groups, then one for the head."""
        groups = group_parameters(self.backbone.model, self.backbone.model.group_matcher(coarse=coarse), reverse=True)
        depth = {f'{prefix}.{name}': group for prefix in self._networks() for name, group in groups.items()}
        head = max(depth.values()) + 1
        return lambda name: depth.get(name, head)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that the backbones' authors exempt from weight decay."""
        return {
            f'{prefix}.{name}' for prefix, network in self._networks().items()
            if hasattr(network, 'no_weight_decay') for name in network.no_weight_decay()}

    def forward_intermediates(
            self,
            x: Tensor,
            indices: int | list[int] | None = None,
            norm: bool = False,
            stop_early: bool = False,
            output_fmt: str = 'NCHW',
            intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The backbone's stages, as timm's method of this name.

        Args:
            x: Images (B, in_chans, H, W).
            indices: Stages to take: the last n, a list, or all.
            norm: Apply the backbone's final norm to each.
            stop_early: Do not run the stages behind the last one taken.
            output_fmt: 'NCHW', or what else the backbone offers.
            intermediates_only: Return only the list.

        Returns:
            The list of maps, or (what `forward_features` returns, that list).
        """
        result = self.backbone.model.forward_intermediates(
            x, indices=indices, norm=norm, stop_early=stop_early, output_fmt=output_fmt,
            intermediates_only=intermediates_only)
        if intermediates_only:
            return result
        final, intermediates = result
        if self.backbone.intermediates:
            return self.backbone(x), intermediates
        if self.backbone.channels_last and final.shape[-1] != self.num_features:
            return final, intermediates  # timm already gave NCHW
        return self.backbone.as_map(final, x.shape[2]), intermediates

    def prune_intermediate_layers(
            self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True) -> list[int]:
        """Remove the stages behind the last index, and the head with `prune_head`; timm's method of this name."""
        last = len(self.feature_info) - 1
        kept, deepest = feature_take_indices(len(self.feature_info), indices)
        cut = deepest < last
        # a final 1x1 convolution behind the last stage goes with the head: nothing that remains reads it
        self.backbone.model.prune_intermediate_layers(kept, prune_norm=prune_norm, prune_head=prune_head or cut)
        self.feature_info = self.feature_info[:deepest + 1]
        self.backbone.stage = min(self.backbone.stage, deepest)
        if prune_head or cut:
            self.num_features = self.backbone.num_features = self.feature_info[-1]['num_chs']
            self._remove_head()
        return kept

    def _remove_head(self) -> None:
        """Drop every layer behind the map. Subclasses drop theirs too."""
        self.reset_classifier(0, '')

    @torch.jit.ignore
    @torch.no_grad()
    def explain(self, x: Tensor) -> Explanation:
        """What the model attends to in images (B, in_chans, H, W); see `forward_explained`."""
        return self.forward_explained(x)[1]

    @torch.jit.ignore
    @torch.no_grad()
    def forward_explained(self, x: Tensor) -> tuple[Tensor, Explanation]:
        """`forward` in eval mode, and what the model attends to. Methods compute both from the same passes.

        Without a method's own explanation: where the backbone's map responds (mean magnitude over channels), and the
        box where it reaches at least half of its maximum.
        """
        maps = response_map(self.forward_features(x))[:, None]
        boxes = half_maximum_boxes(maps, x.shape[2], x.shape[3])
        return self(x), Explanation(maps, boxes, ['response'], ['response'])

    @torch.jit.ignore
    def class_weights(self) -> Tensor:
        """The classifier's weights, (num_classes, head_hidden_size) float32.

        Raises:
            UserError: The model has no classes.
        """
        if not isinstance(self.classifier, nn.Linear):
            raise UserError(f'explaining {type(self).__name__} needs its classifier, and this model has no classes')
        return self.classifier.weight.float()

    @torch.jit.ignore
    def favoured_weights(self, embedded: Tensor) -> Tensor:
        """The classifier's weights for class activation maps (Zhou et al., arXiv 1512.04150).

        The classifier's input (B, head_hidden_size) -> the predicted class's row minus the mean of all rows, float32 of
        the same shape. What the classes have in common changes no probability.

        Raises:
            UserError: The model has no classes.
        """
        weight = self.class_weights()
        return (weight - weight.mean(0))[self.classifier(embedded).argmax(1)]

    @torch.jit.ignore
    def cfg_entries(self) -> dict[str, Any]:
        """Entries of `pretrained_cfg` that depend on the arguments, such as the names of several classifiers."""
        return {}
