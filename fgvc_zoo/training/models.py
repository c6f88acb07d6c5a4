"""The model that a run trains: new, with ImageNet weights in its backbone, or with trained weights and a new classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from fgvc_zoo._errors import UserError, first_line, nearest
from fgvc_zoo._transfer import check_reachable
from fgvc_zoo.loading import TimmModel, architecture_of, create_model, is_trained, load_model
from fgvc_zoo.models import FineGrainedModel, find_method
from fgvc_zoo.models.backbone import check_weights_fit, weights_overlay
from fgvc_zoo.models.base import TRAINED_HEAD
from fgvc_zoo.recipes import Recipe
from fgvc_zoo.run_record import read_run_record


def build_model(name: str, recipe: Recipe, num_classes: int, pretrained_backbone: bool | str) -> TimmModel:
    """A model to train: this zoo's, any timm model, or trained weights with a new classifier.

    Its pretrained_cfg holds the input size and crop of the run, so that loading it later needs no recipe.

    Args:
        name: Registered name, or trained weights to start from (see `fgvc_zoo.loading.load_model`).
        recipe: Gives model_args, unless the weights are trained: those bring their own; input_size, crop_pct and crop_mode, unless they
            are None: then the model's own stay.
        num_classes: Classes.
        pretrained_backbone: True for timm's ImageNet weights, or the path of a safetensors file with them. True for trained weights.

    Raises:
        UserError: There is no such model.
    """
    make = _trained_model if is_trained(name) else _new_model
    model = make(name, recipe, num_classes, pretrained_backbone)
    zero_heads(model)
    channels = model.pretrained_cfg['input_size'][0]
    method = find_method(name)
    # of a new model the architecture's own input size, and not that of the checkpoint which is its default
    own = method.cfgs.get(name, {}) if method else {}
    recipe = recipe.for_model({**model.pretrained_cfg, **own})
    model.pretrained_cfg.update(
        input_size=(channels, recipe.input_size, recipe.input_size), crop_pct=recipe.crop_pct, crop_mode=recipe.crop_mode,
        num_classes=num_classes)
    # drop the source so that loading the result does not download these weights again
    model._model_args = {key: value for key, value in model._model_args.items() if key not in ('pretrained_backbone', 'num_classes')}
    for key in ('file', 'url', 'hf_hub_id', 'source', *TRAINED_HEAD):
        model.pretrained_cfg.pop(key, None)
    return model


def _trained_model(name: str, recipe: Recipe, num_classes: int, pretrained_backbone: bool | str) -> TimmModel:
    """A model with trained weights, and a new classifier."""
    if pretrained_backbone is not True:
        raise UserError(f"'{name}' brings trained weights: leave out the backbone's (--pretrained-backbone), or train its architecture "
                        f"'{architecture_of(name)}'")
    model = load_model(name)
    channels, _, side = model.pretrained_cfg['input_size']
    if channels != 3:
        raise UserError(f"photographs have 3 channels, and '{name}' takes {channels}")
    if model.pretrained_cfg.get('fixed_input_size') and recipe.input_size not in (None, side):
        raise UserError(f"'{name}' takes images of {side} px only: leave out the input size {recipe.input_size}")
    run = read_run_record(Path(name.removeprefix('local-dir:')))
    license = model.pretrained_cfg.get('license') or (run or {}).get('start_license')
    model.reset_classifier(num_classes)  # forgets it
    model.calibration = None  # of the former classifier; a plain timm model does not know it
    model.start_license = license
    return model


def _new_model(name: str, recipe: Recipe, num_classes: int, pretrained_backbone: bool | str) -> TimmModel:
    """A model of an architecture, with ImageNet weights in its backbone or none."""
    if not timm.is_model(name.split('.')[0]):
        raise UserError(f"there is no model '{name}'{nearest(name, timm.list_models())}")
    if 'num_classes' in recipe.model_args:
        raise UserError('the data say how many classes there are: leave out model_args.num_classes')
    args: dict[str, Any] = dict(recipe.model_args, num_classes=num_classes)
    backbone = _backbone_name(name, args)
    if ':' not in backbone and not timm.is_model(backbone.split('.')[0]):
        raise UserError(f"there is no model '{backbone}' to be the backbone{nearest(backbone, timm.list_models())}")
    if args.get('in_chans', 3) != 3:
        raise UserError(f"photographs have 3 channels, so a model with in_chans={args['in_chans']} cannot be trained on them")
    if recipe.input_size is not None and timm.get_pretrained_cfg_value(backbone, 'fixed_input_size'):
        args['img_size'] = recipe.input_size
    if not pretrained_backbone:
        pass
    elif _is_fine_grained(name, args):
        args['pretrained_backbone'] = pretrained_backbone
    elif isinstance(pretrained_backbone, str):
        args.update(pretrained=True, pretrained_cfg_overlay=weights_overlay(Path(pretrained_backbone)))
    else:
        args['pretrained'] = pretrained_backbone
    if pretrained_backbone is True and (repo_id := timm.get_pretrained_cfg_value(backbone, 'hf_hub_id')):
        check_reachable(repo_id, f"the ImageNet weights of '{backbone}'",
                        'connect to a network, or give --pretrained-backbone FILE.safetensors or false')
    try:
        model = create_model(name, **args)
    except TypeError as error:
        raise UserError(f"'{name}' cannot be built with these model_args: {first_line(error)}") from error
    except RuntimeError as error:
        if 'pretrained_cfg_overlay' not in args:
            raise UserError(f"'{name}' cannot be built: {first_line(error)}") from error
        raise UserError(f"the weights in '{pretrained_backbone}' are not those of '{name}': {first_line(error)}") from error
    if 'pretrained_cfg_overlay' in args:
        check_weights_fit(model, Path(args['pretrained_cfg_overlay']['file']))
    return model


def _backbone_name(name: str, args: dict[str, Any]) -> str:
    """The timm model whose ImageNet weights a model starts from."""
    method, bare = find_method(name), name.split('.')[0]
    if method is not None and bare != method.name:
        return bare.removeprefix(f'{method.name}_')
    return str(args.get('backbone', name))


def zero_heads(model: TimmModel) -> None:
    """Start every classifier from zeros, whoever made it: all classes are equally likely and the first loss is ln(classes).

    timm draws the classifiers of some families (EfficientNet, MobileNetV3, ReXNet) from +-1 / sqrt(classes), which makes first logits as
    large as 11 for two classes. With the recipes' rates for heads such a model stays at chance on few classes.
    """
    heads = model.pretrained_cfg.get('classifier') or ()
    for head in (heads,) if isinstance(heads, str) else heads:
        for parameter in model.get_submodule(head).parameters():
            nn.init.zeros_(parameter)


def _is_fine_grained(name: str, args: dict[str, Any]) -> bool:
    """Whether a name makes a `FineGrainedModel`. A subclass that was registered with timm alone is found by building it once."""
    if find_method(name) is not None:
        return True
    with torch.random.fork_rng(devices=[]):
        return isinstance(create_model(name, **args), FineGrainedModel)
