"""`fgvc-zoo publish`: a trained model becomes a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fgvc_zoo._errors import UserError, nearest
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.publishing import compare, find_checkpoint, is_staged, publish, stage, stage_checkpoint

_SIGNS = {'added': '+', 'changed': '~', 'removed': '-', 'unchanged': '='}


def run(
        source: Path, repo_id: str, license: str | None, about: str, result: Path | None, baseline: Path | None, picture: Path | None,
        benchmark: str | None, full: bool, output: Path | None, dry_run: bool, private: bool, revision: str | None,
        tag: str | None) -> None:
    """Stage, unless `source` is staged already; then publish, or show what that would do."""
    if repo_id.count('/') != 1 or not all(repo_id.split('/')):
        raise UserError(f"'{repo_id}' is not a repository's name; write ORG/NAME")
    folder = source
    checkpoint = None if source.exists() else find_checkpoint(str(source))
    if checkpoint is not None:
        if license or about or result or baseline or full:
            raise UserError(f"the manifest knows licence, data, results and precision of '{source}'; give none of them")
        folder = stage_checkpoint(checkpoint, output or Path('published') / checkpoint.name, repo_id, picture, benchmark)
    elif not source.exists():
        names = [item.name for item in load_manifest()]
        raise UserError(f"there is no folder '{source}' and no checkpoint of that name{nearest(str(source), names)}")
    elif is_staged(source):
        if license or about or result or baseline or picture or benchmark or full:
            raise UserError(f"'{source}' is staged already, with what was given then; give the run's folder to change that")
    else:
        folder = stage(source, output or source / 'hub', repo_id, license, about, result, baseline, picture, benchmark, full)
    out = Console(highlight=False, soft_wrap=True)
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    out.print(f"staged in '{folder}' ({size / 1e6:.1f} MB)")
    if dry_run:
        _show(out, compare(folder, repo_id, revision))
        out.print('nothing was published (--dry-run)')
        return
    done = publish(folder, repo_id, private, revision, tag)
    _show(out, done.changes)
    verb = 'published' if any(change != 'unchanged' for change in done.changes.values()) else 'already published'
    out.print(f'{verb}: {done.url} at {done.revision[:7]}{f", tagged {tag}" if tag else ""}')


def _show(out: Console, changes: dict[str, str]) -> None:
    for name, change in changes.items():
        out.print(f'  {_SIGNS[change]} {name} ({change})', markup=False)
