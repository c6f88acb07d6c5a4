"""config.json of a finished model: read from anybody, checked once, and never a reason to fetch or unpickle anything."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import timm

from fgvc_zoo._errors import UserError, nearest, plain
from fgvc_zoo.calibration import read_calibration
from fgvc_zoo.data.transforms import CROP_MODES, INTERPOLATIONS

FORMAT = 1  # of model folders and exported files; 2 will be the first that this version cannot read
MAX_INPUT_SIZE = 4096
# where weights would come from; a finished model has its own beside it
_SOURCES = ('url', 'file', 'checkpoint_path', 'state_dict', 'hf_hub_filename')
_LOADING = ('pretrained', 'pretrained_backbone', 'checkpoint_path', 'pretrained_cfg', 'pretrained_cfg_overlay', 'pretrained_strict',
            'pretrained_filter_fn', 'cache_dir')


def read_config(path: Path) -> dict[str, Any]:
    """Read and check a config.json.

    Args:
        path: The file.

    Returns:
        Its content, without what would make timm load other weights.

    Raises:
        UserError: It is not JSON, or a key is missing or has a wrong type or value; the key is named. A newer version wrote it.

    Warns:
        UserWarning: It names other weights. They are ignored.
    """
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read as JSON: {error}") from error
    check = _Checker(path)
    check(isinstance(config, dict), 'it', 'must be an object with the keys architecture, num_classes, ...')
    check_format(path, config.get('format', FORMAT))
    if 'pretrained_cfg' not in config:  # timm's older form has everything in one object
        keys = ('architecture', 'num_features', 'model_args')
        config = {**{key: config[key] for key in keys if key in config},
                  'pretrained_cfg': {key: value for key, value in config.items() if key not in keys}}
    cfg, args = config['pretrained_cfg'], config.get('model_args', {})
    check(isinstance(cfg, dict), 'pretrained_cfg', 'must be an object')
    check(isinstance(args, dict), 'model_args', 'must be an object')
    _check_architecture(check, config.get('architecture'))
    _check_classes(check, config, cfg)
    _check_preprocessing(check, cfg)
    _check_calibration(check, config.get('calibration'))
    dropped: list[str] = []
    cfg = {key: value for key, value in cfg.items() if value is not None}  # timm's defaults take their places
    config = {**config, 'pretrained_cfg': _without(cfg, _SOURCES, 'pretrained_cfg', dropped),
              'model_args': _without(args, _LOADING, 'model_args', dropped)}
    if dropped:
        warnings.warn(f"'{path}' names other weights ({', '.join(dropped)}); they are ignored, since the model's own are beside it",
                      UserWarning, stacklevel=2)
    return config


def check_format(path: Path, found: Any) -> None:
    """Check the format's version of a model folder or an exported file.

    Raises:
        UserError: It is no whole number, or newer than `FORMAT`.
    """
    if not _is_integer(found) or found < 1:
        raise UserError(f"'{path}' has the format {found!r}, which is no version of fgvc-zoo's model files")
    if found > FORMAT:
        raise UserError(f"'{path}' has format {found}, and this version of fgvc-zoo reads up to format {FORMAT}: "
                        'pip install --upgrade fgvc-zoo')


class _Checker:
    """Raises a UserError that names the file and the key, unless a condition holds."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, holds: bool, key: str, must: str) -> None:
        if not holds:
            raise UserError(f"'{self.path}' does not describe a model that can be built: {key} {must}")


def _check_architecture(check: _Checker, name: Any) -> None:
    check(isinstance(name, str), 'architecture', 'must be the name of a model')
    check(timm.is_model(name.split('.')[0]), 'architecture', f"'{plain(name)}' is not known{nearest(name, timm.list_models())}; if another "
          'package defines it, install that package or name its module with --import')


def _check_classes(check: _Checker, config: dict[str, Any], cfg: dict[str, Any]) -> None:
    count = config.get('num_classes', cfg.get('num_classes', 1000))
    check(_is_integer(count) and 0 <= count <= 1_000_000, 'num_classes', f'must be a number of classes, not {count!r}')
    own, inner = config.get('label_names'), cfg.get('label_names', cfg.get('labels'))
    for names, key in ((own, 'label_names'), (inner, 'pretrained_cfg.label_names')):
        if names is not None:
            check(isinstance(names, list) and all(isinstance(name, str) for name in names), key, 'must be a list of names')
            check(len(names) == count, key, f'has {len(names)} names for {count} classes')


def _check_preprocessing(check: _Checker, cfg: dict[str, Any]) -> None:
    size = cfg.get('input_size', [3, 224, 224])
    check(isinstance(size, list) and len(size) == 3 and all(map(_is_integer, size)), 'input_size', f'must be three integers, not {size!r}')
    check(1 <= size[0] <= 64 and all(1 <= side <= MAX_INPUT_SIZE for side in size[1:]), 'input_size',
          f'must be channels, height and width of at most {MAX_INPUT_SIZE}, not {size!r}')
    for key in ('mean', 'std'):
        values = cfg.get(key, [0.5] * size[0])
        check(isinstance(values, list) and len(values) in (1, size[0]) and all(map(_is_number, values)), key,
              f'must be {size[0]} numbers, not {values!r}')
        check(key == 'mean' or all(value > 0 for value in values), key, f'must be above 0, not {values!r}')
    crop = cfg.get('crop_pct', 1.0)
    check(crop is None or (_is_number(crop) and 0 < crop <= 1), 'crop_pct', f'must be in (0, 1], not {crop!r}')
    for key in ('first_conv', 'classifier'):
        names = cfg.get(key) or []
        check(isinstance(names, str) or (isinstance(names, list) and all(isinstance(name, str) for name in names)), key,
              f'must be the name of a layer or several, not {names!r}')
    for key, choices in (('interpolation', INTERPOLATIONS), ('crop_mode', CROP_MODES)):
        value = cfg.get(key)
        check(value is None or value in choices, key, f"must be one of {', '.join(choices)}, not {value!r}")


def _check_calibration(check: _Checker, values: Any) -> None:
    try:
        read_calibration(values)
    except UserError as error:
        check(False, 'calibration', f'cannot be used: {error}')


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _without(values: dict[str, Any], keys: tuple[str, ...], where: str, dropped: list[str]) -> dict[str, Any]:
    """The values without some keys, on every level; those that were set are added to `dropped`."""
    kept = {}
    for key, value in values.items():
        if key in keys:
            if value:
                dropped.append(f'{where}.{key}')
        else:
            kept[key] = _without(value, keys, f'{where}.{key}', dropped) if isinstance(value, dict) else value
    return kept
