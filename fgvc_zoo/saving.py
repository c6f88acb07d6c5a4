"""Save a model as a folder that timm, transformers and this package load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from timm.models._hub import save_config_for_hf

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import atomic_write, cpu_state_dict, json_text, write_json, write_weights
from fgvc_zoo.calibration import Calibration, calibration_of
from fgvc_zoo.config_file import FORMAT
from fgvc_zoo.loading import TimmModel
from fgvc_zoo.models.base import TRAINED_HEAD


def save_model(model: TimmModel, folder: Path | str, label_names: Sequence[str] | None = None) -> Path:
    """Write `config.json` and `model.safetensors`, for `local-dir:FOLDER` in timm and `from_pretrained(FOLDER)` in transformers.

    Args:
        model: Made by `timm.create_model`.
        folder: The folder to write; created if it does not exist.
        label_names: Class names in the order of the logits; None takes those of its pretrained_cfg, if any.

    Returns:
        The folder.
    """
    folder = Path(folder)
    write_weights(folder / 'model.safetensors', cpu_state_dict(model))
    if label_names is None:
        known = model.pretrained_cfg.get('label_names') or ()
        label_names = known if len(known) == model.num_classes else None
    save_config(model, folder / 'config.json', label_names)
    return folder


def save_config(model: TimmModel, path: Path, label_names: Sequence[str] | None = None) -> None:
    """Write timm's config.json so that transformers reads it too.

    transformers passes `num_classes` beside `model_args`, so `model_args` must not contain it (timm reads it from the root). The source of
    the backbone's first weights is left out, so that loading the model does not download them again. Names in its pretrained_cfg for
    another number of classes belong to another classifier and are left out.

    Raises:
        UserError: `label_names` are not as many as the model's classes.
    """
    if label_names and len(label_names) != model.num_classes:
        raise UserError(f'the model has {model.num_classes} classes, and there are {len(label_names)} names: give one name for each class')
    named = dict(label_names=list(label_names)) if label_names else None

    def write(part: Path) -> None:
        save_config_for_hf(model, str(part), model_config=named, model_args=portable_args(model._model_args))
        config = json.loads(part.read_text(encoding='utf-8'))
        config['format'] = FORMAT
        config['model_args'] = portable_args(config['model_args'])  # timm adds num_classes by itself
        cfg = config['pretrained_cfg']
        if len(cfg.get('label_names') or ()) not in (0, model.num_classes):
            config['pretrained_cfg'] = {key: value for key, value in cfg.items() if key not in TRAINED_HEAD}
        if not named:
            config.pop('label_names', None)
        if (calibration := calibration_of(model)).images:
            config['calibration'] = asdict(calibration)
        part.write_text(json_text(config), encoding='utf-8')

    atomic_write(path, write)


def write_calibration(folder: Path, calibration: Calibration) -> None:
    """Write a calibration into the config.json of a model folder."""
    path = folder / 'config.json'
    write_json(path, {**json.loads(path.read_text(encoding='utf-8')), 'calibration': asdict(calibration)})


def portable_args(args: dict[str, Any]) -> dict[str, Any]:
    """A model's arguments without those that `save_config` leaves out."""
    return {key: value for key, value in args.items() if key not in ('num_classes', 'pretrained_backbone')}
