"""Stage checkpoints with what the manifest knows about them, and write the manifest."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import write_text
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.checkpoints import FOLDER, MANIFEST, Checkpoint, load_manifest
from fgvc_zoo.loading import load_model
from fgvc_zoo.publishing.staging import COMPARABLE, WEIGHTS, hub_id, stage
from fgvc_zoo.saving import save_config, write_calibration


def find_checkpoint(name: str) -> Checkpoint | None:
    """The checkpoint 'architecture.tag' of the manifest; None if it has none."""
    return next((item for item in load_manifest() if item.name == name), None)


def stage_checkpoint(
        item: Checkpoint, folder: Path, repo_id: str, picture: Path | None = None, benchmark: str | None = None) -> Path:
    """`stage` a checkpoint with its licence, training data and result file from the manifest, and the results of its opponents.

    Args:
        item: The checkpoint.
        folder: The folder to write.
        repo_id: 'ORG/NAME', for the card.
        picture: PNG or JPEG of the attention, for the card; None means the one in the clone's `hub/pictures`.
        benchmark: As for `stage`.

    Returns:
        `folder`.

    Raises:
        UserError: Its weights or its result file are missing (only a clone has result files), or `stage` fails.
    """
    result = FOLDER.parents[1] / item.results
    if not result.is_file():
        raise UserError(f"the result file of '{item.name}' is not here ('{result}'); publish it from a clone of the repository")
    drawn = FOLDER.parents[1] / 'hub' / 'pictures' / f'{item.name}.png'
    if picture is None and drawn.is_file():
        picture = drawn
    model = load_model(item.name)
    with TemporaryDirectory() as scratch:
        source = Path(scratch)
        save_config(model, source / 'config.json', item.label_names())
        shutil.copyfile(item.file, source / WEIGHTS)
        return stage(
            source, folder, repo_id, item.license, item.data, result, find_baseline(result, result.parent), picture, benchmark,
            plain=find_baseline(result, result.parent / 'plain'), base_model=hub_id(model.backbone_name))


def update_manifest(entry: dict[str, Any]) -> None:
    """Add an entry with `Checkpoint`'s keys to the manifest, or replace the one with the same architecture and tag."""
    entries = [item for item in _entries() if _place(item) != _place(entry)]
    head = '# Every checkpoint of this zoo; written by the scripts in hub/, read by fgvc_zoo.checkpoints.\n'
    text = yaml.safe_dump(sorted([*entries, entry], key=_place), sort_keys=False, allow_unicode=True, width=120)
    write_text(MANIFEST, head + text)


def set_calibration(item: Checkpoint, calibration: Calibration) -> None:
    """Write a calibration into a checkpoint's entry of the manifest, and into its config.json if it is not in the package."""
    entry = next(entry for entry in _entries() if _place(entry) == (item.architecture, item.tag))
    update_manifest({**entry, 'calibration': asdict(calibration)})
    if item.folder:
        write_calibration(FOLDER.parents[1] / item.folder, calibration)


def _entries() -> list[dict[str, Any]]:
    return yaml.safe_load(MANIFEST.read_text(encoding='utf-8')) or []


def _place(entry: dict[str, Any]) -> tuple[str, str]:
    return entry['architecture'], entry['tag']


def find_baseline(result: Path, folder: Path) -> Path | None:
    """The result file in a folder of a baseline with the same backbone, data, split, input size and epochs; None if there is none."""
    record = json.loads(result.read_text(encoding='utf-8'))
    for path in sorted(folder.glob('*.json')):
        other = json.loads(path.read_text(encoding='utf-8'))
        if other.get('method') == 'baseline' and all(other.get(key) == record[key] for key in COMPARABLE):
            return path
    return None
