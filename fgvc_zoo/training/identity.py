"""What a run is: only the same run goes on from a checkpoint, and a folder holds one run."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import sha256
from fgvc_zoo.data import ImageDataset
from fgvc_zoo.loading import is_trained, trained_weights
from fgvc_zoo.run_record import RUN_RECORD, fingerprint
from fgvc_zoo.training.checkpoint import CHECKPOINT, PREVIOUS
from fgvc_zoo.training.config import TrainConfig

HARMLESS = ('images', 'data', 'amp')  # a run may go on with others, if its user says so
_OWN_FILES = ('config.json', 'model.safetensors', 'history.csv', 'curves.png', 'result.json')


def identity(config: TrainConfig, dataset: ImageDataset, processes: int) -> dict[str, Any]:
    """What must be equal for a run to go on, as plain values.

    Args:
        config: The run's settings, with a recipe that leaves nothing open.
        dataset: Its training images.
        processes: That share each step, with a batch each.
    """
    weights: Any = config.pretrained_backbone
    start = trained_weights(config.model) if is_trained(config.model) else Path(weights) if isinstance(weights, str) else None
    values = dict(
        model=config.model, recipe=config.recipe.to_dict(), seed=config.seed, train_split=config.train_split, amp=config.amp,
        processes=processes,
        backbone_weights=sha256(start) if start else weights,
        classes=dataset.class_names, images=len(dataset), data=fingerprint(dataset))
    plain: dict[str, Any] = json.loads(json.dumps(values))  # tuples become lists, as in the checkpoint
    return plain


def check_identity(saved: dict[str, Any], now: dict[str, Any], folder: Path, accept_changes: bool) -> None:
    """Compare the run of a checkpoint with the one that wants to go on.

    Args:
        saved: `identity` of the checkpoint. One of an older version lacks some items, which are not compared.
        now: `identity` of this run.
        folder: The run folder, for messages.
        accept_changes: Go on with other images of the same classes, or another precision. More epochs need no permission.

    Raises:
        UserError: They differ; each difference is named.
    """
    before, after = _flat(saved['recipe']), _flat(now['recipe'])
    # the model takes its default for what is not given
    not_given = {key: 'not given' for key in before | after if key.startswith('model_args.')}
    # an older version may lack other items of the recipe; what it did then is their default
    known = {key: value for key, value in before.items() if key in after or key in not_given}
    old = {**saved, 'recipe': {**after, **not_given, **known}}
    new = {**now, 'recipe': {**not_given, **after}}
    epochs = new['recipe']['epochs']
    if epochs > old['recipe']['epochs']:
        warnings.warn(f"the run in '{folder}' was made for {old['recipe']['epochs']} epochs and goes on to {epochs}: its learning rate is "
                      'that of the longer schedule from here on', stacklevel=2)
        old['recipe']['epochs'] = epochs
    different = {key: _describe(key, old[key], new[key]) for key in new if key in old and old[key] != new[key]}
    if 'images' in different:
        different.pop('data', None)  # says less
    fatal = [text for key, text in different.items() if key not in HARMLESS]
    named = '; '.join(different.values())
    if fatal:
        raise UserError(f"'{folder}' holds another run ({named}): resume with the same settings and data, or choose another folder")
    if different and not accept_changes:
        raise UserError(
            f"'{folder}' holds a run with a difference ({named}): give --accept-changes to go on with it, or choose another folder")
    if different:
        warnings.warn(f"the run in '{folder}' goes on with a difference: {named}", stacklevel=2)


def _describe(key: str, old: Any, new: Any) -> str:
    if key == 'classes':
        added, removed = [name for name in new if name not in old], [name for name in old if name not in new]
        parts = [f'{verb} {_some(names)}' for verb, names in (('added', added), ('removed', removed)) if names]
        return f"classes: {', '.join(parts) or 'another order'}"
    if key == 'recipe':
        return ', '.join(f'recipe {name}: {old[name]}, now {new[name]}' for name in new if old[name] != new[name])
    if key == 'data':
        return 'images: as many as before, but other files'
    if key == 'backbone_weights' and isinstance(old, str) and isinstance(new, str):
        return 'backbone weights: another file'
    return f"{key.replace('_', ' ')}: {old}, now {new}"


def _flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f'{prefix}{key}.') if isinstance(value, dict) else {f'{prefix}{key}': value})
    return flat


def _some(names: list[str]) -> str:
    return ', '.join(f"'{name}'" for name in names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')


@contextmanager
def run_folder(folder: Path, resume: bool) -> Iterator[None]:
    """Take a folder for a run, alone.

    Args:
        folder: The run folder. It need not exist.
        resume: Whether a run in it goes on.

    Raises:
        UserError: There is nothing to resume, the folder holds something that would be overwritten, or another process trains in it.
    """
    checkpoint = (folder / CHECKPOINT).exists() or (folder / PREVIOUS).exists()
    if resume and not checkpoint:
        raise UserError(f"there is no checkpoint in '{folder}' to resume: check the name, or leave out --resume to begin a run")
    if checkpoint and not resume:
        raise UserError(f"'{folder}' already holds a run: resume it (--resume) or choose another folder")
    own = [name for name in _OWN_FILES if (folder / name).exists()]
    if not resume and own and ('model.safetensors' in own or not (folder / RUN_RECORD).exists()):
        raise UserError(f"'{folder}' already holds '{own[0]}', which a run would overwrite: choose another folder")
    if os.environ.get('RANK', '0') != '0':  # the first process takes it for all of them
        yield
        return
    lock = FileLock(folder / '.lock')  # the system releases it when its process ends, however that ends
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process trains in '{folder}': wait for it, or choose another folder") from None
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"'{folder}' cannot be a run folder: {error.strerror}; choose another one") from error
    try:
        yield
    finally:
        lock.release()
