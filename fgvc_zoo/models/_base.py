"""timm's model contract, written once for every fine-grained method.

A method is a subclass: it says how a backbone's map becomes the classifier's input (`embed`) and, if its inference looks twice,
how (`forward`). Everything that timm, its scripts, the Hub and transformers ask of a model is here.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import timm
import torch
from timm.models import build_model_with_cfg, group_parameters
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo._transfer import download
from fgvc_zoo.checkpoints import load_manifest, model_args
from fgvc_zoo.models._backbone import Backbone


class Explanation(NamedTuple):
    """What a model looked at.

    Attributes:
        maps: Attention maps (B, M, h, w), float32, >= 0.
        boxes: Attended regions (B, K, 4), float32, xyxy in unit coordinates.
        map_names: M names.
        box_names: K names.
    """

    maps: Tensor
    boxes: Tensor
    map_names: list[str]
    box_names: list[str]


class Passes(NamedTuple):
    """An inference and the predictions that it is made of, each to be measured by itself.

    Attributes:
        combined: What `forward` returns in eval mode: logits or log probabilities (B, num_classes).
        parts: Further predictions by name, logits or log probabilities (B, num_classes).
        boxes: The attended object (B, 4), xyxy in unit coordinates; None for a method that has none.
    """

    combined: Tensor
    parts: dict[str, Tensor]
    boxes: Tensor | None


class FineGrainedModel(nn.Module):
    """A backbone's map, a method's embedding of it, one linear classifier.

    Subclasses call `super().__init__`, create their layers, then `reset_classifier`; they implement `embed`.

    Attributes:
        backbone: The `Backbone`.
        num_classes: Classes; 0 means that `forward` returns the embedding.
        num_features: Channels of `forward_features`' map.
        head_hidden_size: Width of the classifier's input.
        global_pool: How `embed` pools; '' makes `forward` return the map.
        feature_info: Stages of the backbone, as timm describes them.
    """

    pretrained_cfg: dict[str, Any]  # set by timm's builder, as the next
    _model_args: dict[str, Any]

    def __init__(
            self,
            backbone: Backbone,
            head_hidden_size: int,
            num_classes: int,
            in_chans: int,
            global_pool: str,
            pools: tuple[str, ...],
            drop_rate: float,
            device: torch.device | str | None,
            dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.num_features = backbone.num_features
        self.head_hidden_size = head_hidden_size
        self.pools = pools
        self.global_pool = ''
        self.drop = nn.Dropout(drop_rate)
        self.feature_info = [{**info, 'module': f"backbone.{info['module']}"} for info in backbone.feature_info]
        self.classifier: nn.Module = nn.Identity()
        self._set_pool(global_pool)
        if num_classes > 0:
            self.classifier = _linear(head_hidden_size, num_classes, device, dtype)

    def embed(self, features: Tensor) -> Tensor:
        """Map (B, num_features, h, w) -> classifier input (B, head_hidden_size)."""
        raise NotImplementedError

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W), normalised -> the backbone's map (B, num_features, h, w)."""
        return self.backbone(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map -> logits (B, num_classes); the classifier's input (B, head_hidden_size) if `pre_logits` or without a classifier.

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
        """Replace the classifier by a new one on the same device, dtype and mode; keep the pooling unless one is given."""
        if global_pool is not None:
            self._set_pool(global_pool)
        reference = next(self.backbone.parameters())
        self.num_classes = num_classes
        self.classifier = nn.Identity()
        if num_classes > 0:
            self.classifier = _linear(self.head_hidden_size, num_classes, reference.device, reference.dtype)
        self.classifier.train(self.training)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in the backbone (raises where the backbone cannot)."""
        self.backbone.model.set_grad_checkpointing(enable)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Depth of every parameter for layer-wise learning rates: the backbone's own groups, then one for the head."""
        groups = group_parameters(self.backbone.model, self.backbone.model.group_matcher(coarse=coarse), reverse=True)
        depth = {f'backbone.model.{name}': group for name, group in groups.items()}
        head = max(depth.values()) + 1
        return lambda name: depth.get(name, head)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Parameters that the backbone's authors exempt from weight decay."""
        names = self.backbone.model.no_weight_decay() if hasattr(self.backbone.model, 'no_weight_decay') else set()
        return {f'backbone.model.{name}' for name in names}

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
            x, indices=indices, norm=norm, stop_early=stop_early, output_fmt=output_fmt, intermediates_only=intermediates_only)
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
        if prune_head or cut:
            self.num_features = self.backbone.num_features = self.feature_info[-1]['num_chs']
            self._remove_head()
        return kept

    def _remove_head(self) -> None:
        """Drop every layer behind the map. Subclasses drop theirs too."""
        self.reset_classifier(0, '')


Model = TypeVar('Model', bound=FineGrainedModel)


def mean_prediction(first: Tensor, second: Tensor) -> Tensor:
    """Log of the mean of two predictions' probabilities.

    The mean of probabilities, not of logits: the two rank classes differently. Computed in float32 without leaving log space, so
    that no probability underflows.

    Args:
        first: Logits (B, K).
        second: Logits (B, K).

    Returns:
        Log probabilities (B, K) in the dtype of `first`.
    """
    both = torch.stack([first.float().log_softmax(1), second.float().log_softmax(1)])
    return (both.logsumexp(0) - math.log(2.0)).to(first.dtype)


def _linear(
        in_features: int, out_features: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Linear:
    return nn.Linear(in_features, out_features, device=device, dtype=dtype)


def backbone_cfg(backbone: str, input_size: int | None = None, **overrides: Any) -> dict[str, Any]:
    """A timm pretrained_cfg for a model over `backbone`: its mean, std, interpolation and first convolution, no weights.

    Args:
        backbone: timm architecture, with or without tag.
        input_size: Side of the square input in pixels; the backbone's own if None.
        overrides: Further entries of timm's PretrainedCfg, e.g. `pool_size`.
    """
    cfg = timm.get_pretrained_cfg(backbone)
    if cfg is None:
        raise UserError(f"timm has no backbone '{backbone}'{nearest(backbone, timm.list_models())}")
    channels, height, width = cfg.input_size
    size = (channels, input_size, input_size) if input_size else (channels, height, width)
    first_conv = cfg.first_conv
    if isinstance(first_conv, str):
        first_conv = f'backbone.model.{first_conv}'
    elif first_conv:
        first_conv = tuple(f'backbone.model.{name}' for name in first_conv)
    own = dict(
        input_size=size, fixed_input_size=cfg.fixed_input_size, min_input_size=cfg.min_input_size, interpolation=cfg.interpolation,
        crop_pct=cfg.crop_pct, mean=cfg.mean, std=cfg.std, first_conv=first_conv, classifier='classifier')
    return {**own, **overrides}


def build(model_cls: type[Model], variant: str, pretrained: bool, choices: dict[str, Any], **defaults: Any) -> Model:
    """timm's builder with the feature extraction that a nested backbone needs.

    Args:
        model_cls: The method.
        variant: The architecture's name.
        pretrained: Load its trained weights.
        choices: The caller's arguments. They win over what trained weights were made with, and that over the defaults.
        defaults: The architecture's own arguments.

    Raises:
        UserError: Weights of this zoo were asked for and there are none, or they cannot be fetched intact.
    """
    source = _source(variant, choices) if pretrained else {}
    if pretrained and not any(source.get(key) for key in ('file', 'url', 'hf_hub_id', 'source', 'state_dict')):
        tags = timm.list_pretrained(f'{variant}.*')
        known = tags or timm.list_models(module=model_cls.__module__.rpartition('.')[2], pretrained=True)
        known += [f'local-dir:{item.folder} in a clone of the repository' for item in load_manifest()
                  if item.architecture == variant and item.folder and not item.repo]
        raise UserError(
            f"there are no trained weights for '{variant}'; there are: {', '.join(known) or 'none yet'} "
            "(pretrained_backbone=True starts from the backbone's ImageNet weights)")
    if source.get('hf_hub_id') and not (source.get('file') or source.get('state_dict')):
        # into the cache, from which timm takes them without looking whether they are intact
        folder = download(source['hf_hub_id'], ('model.safetensors',), choices.get('cache_dir'))
        if not (folder / 'model.safetensors').is_file():
            raise UserError(f"'{source['hf_hub_id']}' has no model.safetensors, and other formats can run any code when they are loaded")
    tag = choices.get('pretrained_cfg')
    trained = model_args(variant, tag) if isinstance(tag, str) or (tag is None and pretrained) else {}
    model = build_model_with_cfg(
        model_cls, variant, pretrained, feature_cfg=dict(feature_cls='getter', out_indices=(-3, -2, -1)),
        **{**defaults, **trained, **choices})
    model._model_args = {**trained}  # timm adds the caller's, and writes both into config.json; the manifest keeps its own
    return model


def build_over(model_cls: type[Model], variant: str, pretrained: bool, choices: dict[str, Any]) -> Model:
    """`build` for the bare method name: the configuration follows `backbone=`, unless a saved model brings its own."""
    if isinstance(choices.get('pretrained_cfg'), dict) or 'backbone' not in choices:
        return build(model_cls, variant, pretrained, choices)
    backbone = choices['backbone']
    if not timm.is_model(backbone.split('.')[0]):
        raise UserError(f"timm has no backbone '{backbone}'{nearest(backbone, timm.list_models())}")
    overlay = {**backbone_cfg(backbone), **(choices.get('pretrained_cfg_overlay') or {})}
    model = build(model_cls, variant, pretrained, {**choices, 'pretrained_cfg_overlay': overlay})
    if isinstance(model, FineGrainedModel):
        model.pretrained_cfg['pool_size'] = model.backbone.map_size
    return model


def _source(variant: str, choices: dict[str, Any]) -> dict[str, Any]:
    """The pretrained_cfg that these choices lead to: where weights come from. Empty if there is no such tag."""
    cfg = choices.get('pretrained_cfg')
    if cfg is None or isinstance(cfg, str):
        try:
            cfg = timm.get_pretrained_cfg(f'{variant}.{cfg}' if cfg else variant)
        except RuntimeError:  # timm: there is no such tag
            cfg = None
    found = cfg if isinstance(cfg, dict) else vars(cfg) if cfg is not None else {}
    return {**found, **(choices.get('pretrained_cfg_overlay') or {})}
