"""Load models: registered names with tags, repositories of the Hub, and run folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from PIL import Image
from torch import Tensor, nn

from fgvc_zoo._errors import UserError, first_line, nearest
from fgvc_zoo._files import read_weights, sha256, write_json
from fgvc_zoo._transfer import download, hub_errors
from fgvc_zoo.calibration import read_calibration
from fgvc_zoo.checkpoints import Checkpoint, load_manifest
from fgvc_zoo.config_file import read_config
from fgvc_zoo.data import LAYOUTS, eval_transform, is_url
from fgvc_zoo.models import find_method
from fgvc_zoo.onnx_model import open_onnx
from fgvc_zoo.run_record import read_run_record

# an nn.Module with timm's attributes (pretrained_cfg, num_classes, ...), which nn.Module's own type does not know
TimmModel = Any

_UNKNOWN = 'Unknown model'  # what timm says
_OUTSIDE = '; if another package defines it, install that package or name its module with --import'
_PICKLES = ('.pth', '.pt', '.bin', '.ckpt', '.pkl', '.tar')


def load_model(name: str, device: torch.device | str = 'cpu') -> TimmModel:
    """Load a trained model, in eval mode.

    Args:
        name: A registered name whose weights are in the package ('wsdan_tf_efficientnet_lite0.cub200'), 'hf-hub:ORG/NAME', or the path
            of a run folder (`config.json` and `model.safetensors`), with or without 'local-dir:' before it, or of a file of
            `fgvc-zoo export` that ends with '.onnx', which always computes on the CPU.
        device: Device of the model.

    Returns:
        The model. Its attribute `calibration` is there if its weights are calibrated (see `fgvc_zoo.calibration`).

    Raises:
        UserError: There is no such model, it has no weights, or its files are damaged, of another architecture, not finite, or pickles.
    """
    if name.endswith('.onnx') and not name.startswith('hf-hub:'):
        return open_onnx(Path(name))
    if name.startswith('hf-hub:'):
        folder = download(name.removeprefix('hf-hub:'), ('config.json', 'model.safetensors'))  # checks the hash, which timm does not
        model = _load_folder(folder)
    elif is_url(name) and not Path(name).exists():
        raise UserError(f"'{name}' is a URL, and URLs are not read: use hf-hub:ORG/NAME for a repository of the Hugging Face Hub, or "
                        'download the model and give its folder')
    elif name.startswith('local-dir:') or Path(name).exists() or '/' in name or '\\' in name:
        model = _load_folder(Path(name.removeprefix('local-dir:')))
    else:
        model = _load_registered(name)
    _check_finite(model, name)
    class_names(model)  # their number is checked
    return model.eval().to(device)


def is_trained(name: str) -> bool:
    """Whether a name means trained weights, which `load_model` loads, and not an architecture: a folder, 'hf-hub:ORG/NAME', or a name of
    this zoo with a tag."""
    if name.startswith(('hf-hub:', 'local-dir:')) or '/' in name or '\\' in name:
        return True
    bare, dot, _ = name.partition('.')
    return bool(dot) if find_method(name) is not None else Path(name).exists() and not timm.is_model(bare)


def architecture_of(name: str) -> str:
    """The architecture of trained weights or of a registered name, without a tag.

    Raises:
        UserError: There is no such folder or repository, or its config.json cannot be used.
    """
    weights = trained_weights(name) if is_trained(name) and find_method(name) is None else None
    return str(read_config(weights.with_name('config.json'))['architecture']) if weights else name.partition('.')[0]


def trained_weights(name: str) -> Path | None:
    """The file of trained weights, from which a run can start; None for those of a method of another package.

    Raises:
        UserError: There is no such folder, repository or name.
    """
    if name.startswith('hf-hub:'):
        return download(name.removeprefix('hf-hub:'), ('config.json', 'model.safetensors')) / 'model.safetensors'
    trained = {item.name: item for item in load_manifest()}
    if (item := trained.get(name)) is not None:
        if item.in_package or not item.repo:
            return item.file
        return download(f'{item.repo}@{item.revision}', ('model.safetensors',)) / 'model.safetensors'
    if find_method(name) is not None:
        return None
    folder = Path(name.removeprefix('local-dir:'))
    _check_folder(folder)
    return folder / 'model.safetensors'


def create_model(name: str, **args: Any) -> TimmModel:
    """timm.create_model, with a one-sentence error if weights cannot be downloaded.

    Raises:
        UserError: The Hub does not answer or has no such weights.
    """
    with hub_errors(f"weights for '{name}' could not be fetched"):
        try:
            return timm.create_model(name, **args)
        except RuntimeError as error:
            if _UNKNOWN not in str(error):
                raise
            raise UserError(f"'{name}' cannot be built: {first_line(error)}{_OUTSIDE}") from error


def _load_registered(name: str) -> TimmModel:
    trained = {item.name: item for item in load_manifest()}
    defaults = {item.architecture: item for item in load_manifest() if item.default}
    item = trained.get(name) or defaults.get(name)
    if item is None:
        method = find_method(name)
        if method is not None and name in method.weights:  # of a method of another package
            return create_model(name, pretrained=True)
        if timm.is_model(name):
            raise UserError(f"'{name}' has no trained weights in this package{nearest(name, trained)} (there are "
                            f'{_listed(list(trained))}); give the folder of a training run instead')
        raise UserError(f"there is no trained model '{name}'{nearest(name, trained)} (there are {_listed(list(trained))})")
    if item.repo and not item.in_package:
        return _load_published(item)
    again = 'install the package again' if item.in_package else 'they come with a clone of the repository'
    if not item.file.is_file():
        raise UserError(f"the weights of '{item.name}' are missing ('{item.file}'); {again}")
    if sha256(item.file) != item.sha256:
        raise UserError(f"the weights of '{item.name}' are damaged: '{item.file}' does not have the sha256 of the manifest; {again}")
    model: TimmModel = timm.create_model(item.name, pretrained=True) if item.in_package else _load_folder(item.file.parent)
    model.calibration = read_calibration(item.calibration)
    return model


def _load_published(item: Checkpoint) -> TimmModel:
    folder = download(f'{item.repo}@{item.revision}', ('config.json', 'model.safetensors'))
    if sha256(folder / 'model.safetensors') != item.sha256:
        raise UserError(f"the weights of '{item.name}' in '{item.repo}' are not the manifest's: they do not have its sha256; update this "
                        "package, or remove them from the cache and try again")
    return _load_folder(folder)


def _check_folder(folder: Path) -> None:
    """Raise a UserError unless a folder holds a saved model."""
    if folder.suffix in _PICKLES:
        raise UserError(f"'{folder}' is a pickle, which can run any code when it is loaded; this package only reads .safetensors")
    if not folder.is_dir():
        raise UserError(f"there is no model folder '{folder}'" if not folder.exists()
                        else f"'{folder}' is a file; give the folder that holds config.json and model.safetensors")
    if not (folder / 'config.json').is_file():
        raise UserError(f"'{folder}' has no config.json, so it is not a finished training run")
    weights = folder / 'model.safetensors'
    if not weights.is_file():
        pickles = [path.name for path in folder.iterdir() if path.suffix in _PICKLES]
        if pickles:
            raise UserError(f"'{folder}' holds only a pickle ({pickles[0]}), which can run any code when it is loaded; convert it to "
                            "model.safetensors")
        raise UserError(f"'{folder}' has no model.safetensors, so it is not a finished training run")


def _load_folder(folder: Path) -> TimmModel:
    _check_folder(folder)
    weights = folder / 'model.safetensors'
    state = read_weights(weights)
    model = _build(folder)
    _load_state(model, state, weights)
    return model


def _build(folder: Path) -> TimmModel:
    """The model that a folder's config.json describes, without its weights."""
    config = read_config(folder / 'config.json')
    with TemporaryDirectory() as checked:  # timm reads a folder, and would do what this one says
        write_json(Path(checked) / 'config.json', config)
        try:
            model: TimmModel = timm.create_model(f'local-dir:{checked}')
        except MemoryError:
            raise UserError(f"'{folder / 'config.json'}' describes a model that does not fit into memory") from None
        except Exception as error:  # whatever a constructor raises on arguments that it was not made for
            raise UserError(f"'{folder / 'config.json'}' does not describe a model that can be built: {first_line(error)}") from error
    model.pretrained_cfg['file'] = str(folder)
    model.calibration = read_calibration(config.get('calibration'))
    return model


def _load_state(model: nn.Module, state: dict[str, Tensor], weights: Path) -> None:
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    mismatched = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    other_types = [key for key in expected if key in state and state[key].is_floating_point() != expected[key].is_floating_point()]
    if other_types:
        raise UserError(f"'{weights}' is damaged: {other_types[0]} has numbers of the type {state[other_types[0]].dtype}, where "
                        f'{expected[other_types[0]].dtype} is expected')
    if missing or unexpected or mismatched:
        parts = [f'{len(keys)} {what} (such as {keys[0]})' for keys, what in (
            (missing, 'missing'), (unexpected, 'unexpected'), (mismatched, 'of another shape')) if keys]
        raise UserError(f"'{weights}' is of another architecture than its config.json: {', '.join(parts)}")
    model.load_state_dict(state)


def _check_finite(model: nn.Module, name: str) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(f"the weights of '{name}' are not finite (NaN or infinity in {key}); they cannot be used")


def class_names(model: TimmModel) -> list[str]:
    """The model's class names in the order of its logits; 'class 0', ... if it has none.

    Raises:
        UserError: There are names for another number of classes.
    """
    names = model.pretrained_cfg.get('label_names')
    if names and len(names) != model.num_classes:
        raise UserError(f"the model has {model.num_classes} classes, and its label_names name {len(names)}: give names for its classes")
    return list(names) if names else [f'class {index}' for index in range(model.num_classes)]


def eval_transform_for(model: TimmModel, input_size: int | None = None) -> Callable[[Image.Image], Tensor]:
    """The evaluation transform of a model's pretrained_cfg: RGB image -> normalised float32 (3, S, S).

    Args:
        model: From `load_model`.
        input_size: S in pixels; that of the pretrained_cfg if None.

    Raises:
        UserError: The model takes no photographs, which have three channels.
    """
    cfg = model.pretrained_cfg
    if (channels := _channels(model)) % 3:  # some stems make several channels of each before the first convolution
        raise UserError(f'the model was created with in_chans={channels}, and photographs have 3 channels: create it with in_chans=3')
    return eval_transform(
        input_size or cfg['input_size'][-1], cfg['mean'], cfg['std'], cfg['interpolation'], cfg['crop_pct'],
        cfg.get('crop_mode') or 'center', cfg.get('padding'))


def _channels(model: TimmModel) -> int:
    """Channels that the first convolution takes; timm's configuration does not change with `in_chans`."""
    first = model.pretrained_cfg.get('first_conv') or ''
    try:
        return int(model.get_submodule(first if isinstance(first, str) else first[0]).in_channels)
    except AttributeError:  # it is not known, or an exported file, which has 3
        return 3


def describe_classes(name: str, model: TimmModel) -> str:
    """How many classes a model has, and of what if that is known: '81 classes of groceries'.

    Args:
        name: What `load_model` loaded. The data are known from the tag of a checkpoint, or from the settings in a run folder.
        model: The model.
    """
    kind = ''
    try:
        run = read_run_record(Path(name.removeprefix('local-dir:')), 'data')
    except UserError:  # a file of the user's, and not worth an error here
        run = None
    if run:
        data = str(run['config']['data']).partition(':')[0]
        kind = LAYOUTS[data].info.kind if data in LAYOUTS else ''
    else:
        tag = next((item.tag for item in load_manifest() if item.name == name or (item.default and item.architecture == name)), '')
        kind = next((layout.info.kind for data, layout in LAYOUTS.items() if tag.startswith(data)), '')
    return f'{model.num_classes} classes' + (f' of {kind}' if kind else '')


def _listed(names: list[str]) -> str:
    return ', '.join(names) if names else 'none yet'
