"""Registration of methods with timm, and methods of other packages.

`register_method` is the one call that a method needs, in this package or in another one. timm then knows the bare name,
which takes any backbone, and one name for each variant.
"""

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo._transfer import download
from fgvc_zoo.checkpoints import load_manifest, model_args, trained_cfgs
from fgvc_zoo.models.base import FineGrainedModel, Paper

ENTRY_POINTS = 'fgvc_zoo.methods'  # each names a module that calls `register_method`
_DEFAULT_BACKBONE = 'resnet50'  # of FineGrainedModel


@dataclass(frozen=True)
class Variant:
    """A method over one backbone, registered under a name of its own.

    Attributes:
        about: One line for the entrypoint's docstring.
        args: Arguments of the model class that differ from its defaults.
        cfg: Entries of timm's pretrained_cfg that differ from the backbone's. `input_size` may be the side in pixels.
            For own weights: `hf_hub_id`, `num_classes`, `label_names`.
    """

    about: str
    args: dict[str, Any] = field(default_factory=dict)
    cfg: dict[str, Any] = field(default_factory=dict)


@dataclass
class Method:
    """A registered method.

    Attributes:
        name: Such as 'wsdan'; also the bare model name.
        model: Its class.
        paper: Its publication.
        variants: By the name of their backbone.
        task: Its training task, for a method of another package; those of this package are in `fgvc_zoo.tasks`.
        recipe: Path of its recipe, for a method of another package; those of this package are in `fgvc_zoo.recipes`.
        package: The distribution that brings it; '' if it was not found through an entry point.
        cfgs: timm's configuration of each variant before any weights, by model name: checkpoints can have another input size.
    """

    name: str
    model: type[FineGrainedModel]
    paper: Paper
    variants: dict[str, Variant]
    task: Callable[..., Any] | None = None
    recipe: Path | None = None
    package: str = ''
    cfgs: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def model_names(self) -> list[str]:
        """Its registered names: the bare one, then one for each variant."""
        return [self.name, *(f'{self.name}_{backbone}' for backbone in self.variants)]

    @property
    def weights(self) -> dict[str, Any]:
        """The pretrained_cfg of each of its models that has trained weights, by name with tag."""
        names = [tag for name in self.model_names for tag in timm.list_models(f'{name}*', pretrained=True, include_tags=True)
                 if tag.split('.')[0] == name]
        return {name: timm.get_pretrained_cfg(name) for name in names}


METHODS: dict[str, Method] = {}  # by name


def register_method(
        model_cls: type[FineGrainedModel],
        paper: Paper,
        variants: dict[str, Variant],
        *,
        task: Callable[..., Any] | None = None,
        recipe: str | Path | None = None,
        cfg: dict[str, Any] | None = None,
) -> Method:
    """Register a method with timm: the bare name `model_cls.method`, and `METHOD_BACKBONE` for each variant.

    Args:
        model_cls: Its class, with a `method` of its own.
        paper: Its publication; becomes `model_cls.paper`.
        variants: Backbone name -> how the method is built over it.
        task: Its training task: a class that takes the model and the recipe's `task_args`.
        recipe: Path of its recipe, a YAML file.
        cfg: Entries of timm's pretrained_cfg that all its models share.

    Raises:
        UserError: The name is missing or taken, a backbone does not exist, or there is no such recipe.
    """
    name = vars(model_cls).get('method', '')
    if not name.isidentifier():
        raise UserError(f"give the class {model_cls.__name__} a `method` of its own: its name, such as 'wsdan'")
    method = Method(name, model_cls, paper, variants, task, Path(recipe) if recipe else None)
    module = sys.modules[model_cls.__module__]
    for model_name in method.model_names:
        if timm.is_model(model_name):
            raise UserError(f"the model name '{model_name}' is already registered; choose another `method`")
        if hasattr(module, model_name):
            raise UserError(f"rename '{model_name}' in '{module.__name__}': timm's entrypoint gets this name")
    if method.recipe and not method.recipe.is_file():
        raise UserError(f"the recipe '{method.recipe}' of the method '{name}' does not exist")
    model_cls.paper = paper
    shared = dict(paper_name=paper.name, paper_ids=f'arXiv:{paper.arxiv}' if paper.arxiv else None, **(cfg or {}))
    cfgs = {name: backbone_cfg(_DEFAULT_BACKBONE, **shared)}
    for backbone, variant in variants.items():
        cfgs[f'{name}_{backbone}'] = method.cfgs[f'{name}_{backbone}'] = backbone_cfg(backbone, **shared, **variant.cfg)
    # where timm's register_model looks for the configs, before it is called
    vars(module).setdefault('default_cfgs', {}).update(generate_default_cfgs(trained_cfgs(cfgs)))
    METHODS[name] = method
    about = f"{name} over any timm model: `timm.create_model('{name}', backbone='convnextv2_tiny')`."
    _register_entrypoint(method, name, about, None, {})
    for backbone, variant in variants.items():
        _register_entrypoint(method, f'{name}_{backbone}', variant.about, backbone, variant.args)
    return method


def _register_entrypoint(method: Method, name: str, about: str, backbone: str | None, args: dict[str, Any]) -> None:
    """Make the module-level function that timm calls for a name."""
    def entrypoint(pretrained: bool = False, **kwargs: Any) -> FineGrainedModel:
        if backbone is None:
            return _build_over(method, pretrained, kwargs)
        return _build(method, name, pretrained, kwargs, backbone=backbone, **args)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__module__ = method.model.__module__
    entrypoint.__doc__ = about
    setattr(sys.modules[entrypoint.__module__], name, register_model(entrypoint))


def find_method(model: str) -> Method | None:
    """The method of a registered model name, with or without tag; None if no method registered it."""
    architecture = model.split('.')[0]
    return next((method for method in METHODS.values() if architecture in method.model_names), None)


def load_methods() -> None:
    """Import the modules that other packages name in the entry-point group `fgvc_zoo.methods`. A broken one is a
    warning."""
    for point in entry_points(group=ENTRY_POINTS):
        package = point.dist.name if point.dist else point.name
        known = set(METHODS)
        try:
            point.load()
        except (Exception, SystemExit) as error:  # whatever another package does, importing this one works
            reason = str(error).strip().partition('\n')[0] or type(error).__name__
            warnings.warn(
                f"the methods of the package '{package}' are missing, since it cannot be imported: {reason}",
                stacklevel=2)
        for name in set(METHODS) - known:
            METHODS[name].package = package


def import_methods(module: str) -> None:
    """Import a module that registers methods; the current folder is searched too.

    Raises:
        UserError: It cannot be imported.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        import_module(module)
    except ImportError as error:
        raise UserError(f"the module '{module}' cannot be imported: {error}") from error


def backbone_cfg(backbone: str, input_size: int | None = None, **overrides: Any) -> dict[str, Any]:
    """A timm pretrained_cfg for a model over `backbone`: its mean, std, interpolation and first convolution, no
    weights.

    Args:
        backbone: timm architecture, with or without tag.
        input_size: Side of the square input in pixels; the backbone's own if None.
        overrides: Further entries of timm's PretrainedCfg. `pool_size` is the backbone's own, scaled to the input size,
            if not given.
    """
    cfg = timm.get_pretrained_cfg(backbone)
    if cfg is None:
        raise UserError(f"timm has no backbone '{backbone}'{nearest(backbone, timm.list_models())}")
    channels, height, width = cfg.input_size
    pool_size = cfg.pool_size
    if input_size and pool_size:
        pool_size = (pool_size[0] * input_size // height, pool_size[1] * input_size // width)
    first_conv = cfg.first_conv
    if isinstance(first_conv, str):
        first_conv = f'backbone.model.{first_conv}'
    elif first_conv:
        first_conv = tuple(f'backbone.model.{name}' for name in first_conv)
    own = dict(
        input_size=(channels, input_size, input_size) if input_size else (channels, height, width), pool_size=pool_size,
        fixed_input_size=cfg.fixed_input_size, min_input_size=cfg.min_input_size, interpolation=cfg.interpolation,
        crop_pct=cfg.crop_pct, mean=cfg.mean, std=cfg.std, first_conv=first_conv, classifier='classifier')
    return {**own, **overrides}


def _build(method: Method, name: str, pretrained: bool, choices: dict[str, Any], **defaults: Any) -> FineGrainedModel:
    """timm's builder with the feature extraction that a nested backbone needs.

    Args:
        method: The method.
        name: The architecture's name.
        pretrained: Load its trained weights.
        choices: The caller's arguments. They win over what trained weights were made with, and that over the defaults.
        defaults: The architecture's own arguments.

    Raises:
        UserError: Weights of this zoo were asked for and there are none, or they cannot be fetched intact.
    """
    source = choices.get('pretrained_cfg')
    if isinstance(source, dict) and source.get('source') in ('local-dir', 'hf-hub') and choices.get('pretrained_backbone'):
        warnings.warn(
            'the configuration of the saved model names backbone weights; they are ignored, since its own are beside it', stacklevel=2)
        choices = {**choices, 'pretrained_backbone': False}
    if pretrained:
        _check_weights(method, name, choices)
    tag = choices.get('pretrained_cfg')
    trained = model_args(name, tag) if isinstance(tag, str) or (tag is None and pretrained) else {}
    model = build_model_with_cfg(
        method.model, name, pretrained, feature_cfg=dict(feature_cls='getter', out_indices=(-3, -2, -1)),
        **{**defaults, **trained, **choices})
    model._model_args = {**trained}  # a copy: timm adds the caller's, and writes both into config.json
    if isinstance(model, FineGrainedModel):  # and not only its features
        model.pretrained_cfg.update(model.cfg_entries())
        saved = isinstance(tag, dict)  # whoever builds a saved model loads its weights
        if len(model.pretrained_cfg.get('label_names') or ()) != model.num_classes or not (pretrained or saved):
            model.forget_trained_head()
    return model


def _build_over(method: Method, pretrained: bool, choices: dict[str, Any]) -> FineGrainedModel:
    """`_build` for the bare method name: the configuration follows `backbone=`, unless a saved model brings its own."""
    if isinstance(choices.get('pretrained_cfg'), dict) or 'backbone' not in choices:
        return _build(method, method.name, pretrained, choices)
    backbone = choices['backbone']
    if not timm.is_model(backbone.split('.')[0]):
        raise UserError(f"timm has no backbone '{backbone}'{nearest(backbone, timm.list_models())}")
    overlay = {**backbone_cfg(backbone), **(choices.get('pretrained_cfg_overlay') or {})}
    model = _build(method, method.name, pretrained, {**choices, 'pretrained_cfg_overlay': overlay})
    if isinstance(model, FineGrainedModel):
        model.pretrained_cfg['pool_size'] = model.backbone.map_size
    return model


def _check_weights(method: Method, name: str, choices: dict[str, Any]) -> None:
    """Raise unless there are trained weights; download those of the Hub and check them, where timm then finds them in
    the cache."""
    source = _source(name, choices)
    if not any(source.get(key) for key in ('file', 'url', 'hf_hub_id', 'source', 'state_dict')):
        known = [tag for tag in method.weights if tag.split('.')[0] == name] or list(method.weights)
        known += [f'local-dir:{item.folder} in a clone of the repository' for item in load_manifest()
                  if item.architecture == name and item.folder and not item.repo]
        raise UserError(
            f"there are no trained weights for '{name}'; there are: {', '.join(known) or 'none yet'} "
            "(pretrained_backbone=True starts from the backbone's ImageNet weights)")
    if source.get('hf_hub_id') and not (source.get('file') or source.get('state_dict')):
        folder = download(source['hf_hub_id'], ('model.safetensors',), choices.get('cache_dir'))
        if not (folder / 'model.safetensors').is_file():
            raise UserError(
                f"'{source['hf_hub_id']}' has no model.safetensors; other formats can run any code when loaded")


def _source(name: str, choices: dict[str, Any]) -> dict[str, Any]:
    """The pretrained_cfg that these choices lead to: where weights come from. Empty if there is no such tag."""
    cfg = choices.get('pretrained_cfg')
    if cfg is None or isinstance(cfg, str):
        try:
            cfg = timm.get_pretrained_cfg(f'{name}.{cfg}' if cfg else name)
        except RuntimeError:  # timm: there is no such tag
            cfg = None
    entries = cfg if isinstance(cfg, dict) else vars(cfg) if cfg is not None else {}
    return {**entries, **(choices.get('pretrained_cfg_overlay') or {})}
