"""run.json: what a folder says of the training of its model."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import ImageDataset

RUN_RECORD = 'run.json'


def fingerprint(dataset: ImageDataset) -> str:
    """A checksum of the images' names, classes and sizes in bytes; the place of the folder does not count."""
    digest = hashlib.sha256()
    for key, path, target in sorted(zip(dataset.keys, dataset.paths, dataset.targets, strict=True)):
        size = os.stat(path).st_size if path.exists() else -1
        digest.update(os.fsencode(f'{key}\n{target} {size}\n'))
    return digest.hexdigest()


def read_run_record(folder: Path, *needed: str) -> dict[str, Any] | None:
    """The record of the run in a folder, or None if it has none.

    Args:
        folder: A run folder, or the folder `best` in it.
        needed: Settings that must be there.

    Returns:
        `config`, the settings with the whole `recipe`; `images`, the number of training images, 0 if that is not known; `fingerprint` of
        them, but for older runs; `start_license`, of the trained weights that the run began with, if there are any; in `best` also `epoch`,
        the one that it is of.

    Raises:
        UserError: The file is damaged, or of another program.
    """
    path = folder / RUN_RECORD
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        for name in needed:
            record['config'][name]
        record['images'] = int(record.get('images', 0))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}' is damaged, or not of a training run of this zoo ({error!r}): remove it to go on without what it says "
                        'of the training') from error
    return record
