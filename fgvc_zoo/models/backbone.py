"""Any timm backbone -> one NCHW feature map at a chosen stage.

timm's models disagree on what `forward_features` returns: NCHW maps, NHWC maps, token sequences with or without prefix
tokens, lists. `Backbone` probes the model once, at construction and on the meta device (no memory, no arithmetic), and
chooses how its output becomes a map. A model without a map is a UserError.
"""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, first_line, nearest


class Backbone(nn.Module):
    """A timm model cut at one stage, giving an NCHW map.

    The map is what the model's own classifier pools (`stage=None`), or the output of one of its stages; everything
    behind that point is removed. What timm keeps although the map does not depend on it (a second branch, a convolution
    behind the pooling) is frozen, so that every parameter that requires a gradient gets one.

    Attributes:
        model: The pruned timm model; its state dict keys are timm's.
        num_features: Channels of the map.
        reduction: Input pixels per map cell.
        feature_info: timm's description of the stages that remain, module names relative to this module.
        pretrained_cfg: The timm configuration of the backbone (mean, std, first convolution ...).

    Args:
        name: Any timm architecture, with or without a pretrained tag.
        stage: None for the last map before pooling (including a final 1x1 convolution such as EfficientNet's), or an
            index into `feature_info` (negative from the end).
        pretrained: True for timm's weights, or the path of a safetensors file with timm's keys.
        in_chans: Input channels.
        img_size: Input height and width in pixels, for backbones that are tied to one (plain ViTs).
        args: Further arguments of the timm model, e.g. `dict(output_stride=16)` or `dict(drop_path_rate=0.1)`.
        before_pruning: Called with the complete timm model once its weights are loaded.

    Raises:
        UserError: The architecture does not exist, yields no map, or the weights file is not a safetensors file.
    """

    # constants, so that TorchScript compiles only the branch that is taken
    __constants__ = ('tokens', 'channels_last', 'intermediates', 'prefix_tokens', 'reduction')

    def __init__(
            self,
            name: str,
            stage: int | None = None,
            pretrained: bool | str = False,
            in_chans: int = 3,
            img_size: int | tuple[int, int] | None = None,
            args: dict[str, Any] | None = None,
            before_pruning: Callable[[nn.Module], None] | None = None,
            device: torch.device | str | None = None,
            dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = _create(name, pretrained, in_chans, img_size, args or {}, device, dtype)
        self.pretrained_cfg: dict[str, Any] = dict(self.model.pretrained_cfg)
        if before_pruning is not None:
            before_pruning(self.model)

        size = _probe_size(self.pretrained_cfg, img_size)
        self.stage = _resolve_stage(name, self.model, stage)
        is_last = self.stage == len(_stages(self.model)) - 1
        self._prune(name, size, in_chans, keep_final_layers=stage is None)

        probed = _probe(self.model, self.stage, size, in_chans)
        features, mapped = probed.features, probed.mapped
        tokens, channels_last, via_intermediates, prefix_tokens = False, False, False, 0
        if isinstance(features, Tensor) and features.ndim == 4:
            channels_last = getattr(self.model, 'output_fmt', 'NCHW') == 'NHWC'
            shape = _to_nchw(features).shape if channels_last else features.shape
        elif mapped is not None:
            shape = mapped.shape
            cells = shape[2] * shape[3]
            # only the last stage's tokens are known to lie row by row (Hiera orders those of the others by windows)
            tokens = (is_last and isinstance(features, Tensor) and features.ndim == 3
                      and features.shape[1] >= cells and features.shape[2] == shape[1])
            via_intermediates = not tokens
            prefix_tokens = features.shape[1] - cells if tokens else 0
        else:
            raise UserError(
                f"backbone '{name}' yields no feature map (neither forward_features nor forward_intermediates returns "
                "one), choose another")
        used = probed.behind_mapped if via_intermediates else probed.behind_features
        for key, parameter in self.model.named_parameters():
            if key not in used:
                parameter.requires_grad_(False)
        self.tokens = tokens
        self.channels_last = channels_last
        self.intermediates = via_intermediates
        self.prefix_tokens = prefix_tokens
        self.num_features: int = shape[1]
        self.map_size: tuple[int, int] = (shape[2], shape[3])
        self.reduction: int = _stages(self.model)[self.stage]['reduction']
        self.feature_info: list[dict[str, Any]] = [
            {**dict(info), 'module': f"model.{info['module']}"} for info in _stages(self.model)[:self.stage + 1]]

    def _prune(self, name: str, size: tuple[int, int], in_chans: int, keep_final_layers: bool) -> None:
        """Remove the layers behind the map. Layers between last stage and pooling stay if `keep_final_layers`."""
        last = len(_stages(self.model)) - 1
        probed = _probe(self.model, self.stage, size, in_chans)
        has_final_layers = (
            self.stage == last and isinstance(probed.features, Tensor) and probed.features.ndim == 4
            and probed.mapped is not None and set(probed.features.shape[1:]) != set(probed.mapped.shape[1:]))
        if keep_final_layers and has_final_layers:
            self.model.reset_classifier(0, '')
            return
        try:
            self.model.prune_intermediate_layers([self.stage], prune_norm=False, prune_head=True)
        except (AttributeError, NotImplementedError) as error:
            raise UserError(f"backbone '{name}' cannot be cut at a stage ({error}), choose another") from error

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> map (B, num_features, H / reduction, W / reduction)."""
        if self.intermediates:
            return _intermediate(self.model, x, self.stage)
        return self.as_map(self.model.forward_features(x), x.shape[2])

    def as_map(self, features: Tensor, height: int) -> Tensor:
        """What the timm model's `forward_features` returned -> NCHW.

        Args:
            features: (B, C, h, w), (B, h, w, C) or (B, prefix + h * w, C), as found at construction.
            height: Height in pixels of the images that the features came from; gives the token grid its rows.
        """
        if self.tokens:
            rows = (height + self.reduction - 1) // self.reduction
            features = features[:, self.prefix_tokens:].transpose(1, 2)
            return features.unflatten(2, (rows, -1))
        if self.channels_last:
            return _to_nchw(features)
        return features


def _create(
        name: str,
        pretrained: bool | str,
        in_chans: int,
        img_size: int | tuple[int, int] | None,
        args: dict[str, Any],
        device: torch.device | str | None,
        dtype: torch.dtype | None,
) -> Any:
    if not timm.is_model(name.split('.')[0]):
        raise UserError(f"timm has no backbone '{name}'{nearest(name, timm.list_models())}")
    overlay = weights_overlay(Path(pretrained)) if isinstance(pretrained, (str, Path)) else None
    if img_size is not None:
        args = dict(args, img_size=img_size)
    try:
        model = timm.create_model(
            name, pretrained=bool(pretrained), pretrained_cfg_overlay=overlay, in_chans=in_chans, device=device,
            dtype=dtype, **args)
        if overlay:
            check_weights_fit(model, Path(overlay['file']))
        return model
    except RuntimeError as error:
        if not overlay:
            raise
        raise UserError(f"the weights in '{overlay['file']}' are not those of the backbone '{name}': {first_line(error)}") from error
    except TypeError as error:
        if not args:
            raise
        given = ', '.join(f'{key}={value}' for key, value in args.items())
        raise UserError(f"the backbone '{name}' cannot be built with {given}: {error}") from error


def weights_overlay(path: Path) -> dict[str, Any]:
    """timm's `pretrained_cfg_overlay` for backbone weights in a file, whatever classifier they come with.

    Raises:
        UserError: It is not a safetensors file, or it does not hold the weights of a backbone.
    """
    if path.suffix != '.safetensors':
        raise UserError(f"backbone weights must be a .safetensors file, not '{path}'")
    if not path.is_file():
        raise UserError(f"there is no backbone weights file '{path}'")
    if any(key.startswith('backbone.model.') for key in _keys(path)):
        raise UserError(f"'{path}' holds a whole model of this package, not the weights of a backbone: give a file with timm's keys")
    # no model has this number of classes, so timm leaves out the file's classifier
    return dict(file=str(path), num_classes=-1)


def check_weights_fit(model: nn.Module, path: Path) -> None:
    """Raise a UserError unless a file has every weight of a timm model but the classifier's: without a classifier timm ignores what is
    missing."""
    cfg: Any = model.pretrained_cfg
    heads = cfg.get('classifier') or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    keys = _keys(path)
    missing = [key for key in model.state_dict()
               if key not in keys and not key.startswith(heads) and not key.endswith('num_batches_tracked')]
    if missing:
        raise UserError(f"'{path}' does not hold the weights of '{cfg['architecture']}': {len(missing)} are missing, such as {missing[0]}")


def _keys(path: Path) -> set[str]:
    try:
        with safe_open(path, framework='pt') as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"'{path}' is damaged or is not a safetensors file ({error})") from error


def _stages(model: Any) -> list[dict[str, Any]]:
    info = model.feature_info
    return list(getattr(info, 'info', info))


def _resolve_stage(name: str, model: Any, stage: int | None) -> int:
    if not getattr(model, 'feature_info', None):
        raise UserError(f"backbone '{name}' does not describe its stages (feature_info), choose another")
    count = len(_stages(model))
    wanted = count - 1 if stage is None else stage + count if stage < 0 else stage
    if not 0 <= wanted < count:
        raise UserError(f"backbone '{name}' has {count} stages, so stage {stage} does not exist")
    return wanted


def _probe_size(cfg: dict[str, Any], img_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if isinstance(img_size, int):
        return img_size, img_size
    if img_size is not None:
        return img_size
    return tuple(cfg['input_size'][-2:])


class _Probed(NamedTuple):
    """What a timm model does, as shapes.

    Attributes:
        features: What forward_features returns; None if it fails.
        mapped: The stage's map (B, C, h, w) through forward_intermediates; None if there is none.
        behind_features: Names of the parameters that `features` depends on.
        behind_mapped: Names of the parameters that `mapped` depends on.
    """

    features: Any
    mapped: Tensor | None
    behind_features: set[str]
    behind_mapped: set[str]


def _probe(model: nn.Module, stage: int, size: tuple[int, int], in_chans: int) -> _Probed:
    """Run both routes to a map on a copy of the model whose parameters have no memory."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device('meta'):
        # new tensors, since those of a model that is made in inference mode cannot take part in a graph
        memo: dict[int, Tensor] = {
            id(parameter): nn.Parameter(torch.empty_like(parameter, device='meta'), parameter.is_floating_point())
            for parameter in model.parameters()}
        memo |= {id(buffer): torch.empty_like(buffer, device='meta') for buffer in model.buffers()}
        twin: Any = copy.deepcopy(model, memo).eval()
        image = torch.empty(2, in_chans, *size, dtype=next(model.parameters()).dtype)

        def run(call: Callable[[Tensor], Any]) -> Any:
            try:
                return call(image)
            except Exception:  # any failure means the same here: this route gives no map
                return None

        features = run(twin.forward_features)
        mapped = run(lambda x: _intermediate(twin, x, stage))
    if not (isinstance(mapped, Tensor) and mapped.ndim == 4):
        mapped = None
    return _Probed(features, mapped, _parameters_behind(features, twin), _parameters_behind(mapped, twin))


def _parameters_behind(output: Any, model: nn.Module) -> set[str]:
    """Names of the parameters that a tensor was computed from, read off its autograd graph."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found, seen = set(), set()
    nodes: list[Any] = [output.grad_fn] if isinstance(output, Tensor) else []
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if id(getattr(node, 'variable', None)) in names:  # the leaves of the graph hold their parameter
            found.add(names[id(node.variable)])
        nodes.extend(parent for parent, _ in node.next_functions)
    return found


@torch.jit.ignore
def _intermediate(model: Any, x: Tensor, stage: int) -> Tensor:
    """One stage's map in NCHW through timm's forward_intermediates, normalised where the model allows it."""
    options = dict(indices=[stage], output_fmt='NCHW', intermediates_only=True)
    try:
        return model.forward_intermediates(x, norm=True, **options)[0]
    except (AssertionError, TypeError, ValueError):  # some models have no final norm and refuse norm=True
        return model.forward_intermediates(x, **options)[0]


def _to_nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)
