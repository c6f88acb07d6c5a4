"""`fgvc-zoo publish`: a trained model becomes a repository of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from fgvc_zoo_cli._terminal import console

if TYPE_CHECKING:
    from rich.console import Console

_SIGNS = {'added': '+', 'changed': '~', 'removed': '-', 'unchanged': '='}


def publish(
        run: Annotated[Path, typer.Argument(
            help='The folder of a run, a staged folder, or a checkpoint that `fgvc-zoo models` lists.')],
        repo_id: Annotated[str, typer.Argument(help='ORG/NAME on the Hugging Face Hub.')],
        license: Annotated[Optional[str], typer.Option(help='Licence of the weights: an SPDX identifier, or a sentence.')] = None,
        about: Annotated[str, typer.Option(help='The training data, in words.')] = '',
        result: Annotated[Optional[Path], typer.Option(help='Result file of `evaluate --json`; RUN/result.json if not given.')] = None,
        baseline: Annotated[Optional[Path], typer.Option(help="The baseline's result file; RUN/baseline.json if there is one.")] = None,
        picture: Annotated[Optional[Path], typer.Option(help='Picture of its attention; RUN/attention.png if there is one.')] = None,
        benchmark: Annotated[Optional[str], typer.Option(
            help='ORG/DATASET or ORG/DATASET:TASK on the Hub, for its leaderboard.')] = None,
        full: Annotated[bool, typer.Option('--full', help='Keep single precision weights; half precision if not given.')] = False,
        output: Annotated[Optional[Path], typer.Option(
            help='Folder to stage in; RUN/hub, or published/NAME for a checkpoint, if not given.')] = None,
        dry_run: Annotated[bool, typer.Option('--dry-run', help='Stage it and show what publishing would change.')] = False,
        private: Annotated[bool, typer.Option('--private', help='Create the repository private.')] = False,
        revision: Annotated[Optional[str], typer.Option(help='Branch to publish to; main if not given.')] = None,
        tag: Annotated[Optional[str], typer.Option(help='Name for the published revision.')] = None,
) -> None:
    """Publish a trained model on the Hugging Face Hub, with a card, checksums and its measured figures."""
    from fgvc_zoo import publishing
    from fgvc_zoo._errors import UserError, nearest
    from fgvc_zoo.checkpoints import load_manifest

    if repo_id.count('/') != 1 or not all(repo_id.split('/')):
        raise UserError(f"'{repo_id}' is not a repository's name; write ORG/NAME")
    folder = run
    checkpoint = None if run.exists() else publishing.find_checkpoint(str(run))
    if checkpoint is not None:
        if license or about or result or baseline or full:
            raise UserError(f"the manifest knows licence, data, results and precision of '{run}'; give none of them")
        folder = publishing.stage_checkpoint(checkpoint, output or Path('published') / checkpoint.name, repo_id, picture, benchmark)
    elif not run.exists():
        names = [item.name for item in load_manifest()]
        raise UserError(f"there is no folder '{run}' and no checkpoint of that name{nearest(str(run), names)}")
    elif publishing.is_staged(run):
        if license or about or result or baseline or picture or benchmark or full:
            raise UserError(f"'{run}' is staged already, with what was given then; give the run's folder to change that")
    else:
        folder = publishing.stage(run, output or run / 'hub', repo_id, license, about, result, baseline, picture, benchmark, full)
    out = console()
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    out.print(f"staged in '{folder}' ({size / 1e6:.1f} MB)")
    if dry_run:
        changes = publishing.compare(folder, repo_id, revision)
        if changes is None:
            out.print('the Hub cannot be reached, so the folder was not compared with it')
        else:
            _show(out, changes)
        out.print('nothing was published (--dry-run)')
        return
    done = publishing.publish(folder, repo_id, private, revision, tag)
    _show(out, done.changes)
    verb = 'published' if any(change != 'unchanged' for change in done.changes.values()) else 'already published'
    out.print(f'{verb}: {done.url} at {done.revision[:7]}{f", tagged {tag}" if tag else ""}')


def _show(out: Console, changes: dict[str, str]) -> None:
    for name, change in changes.items():
        out.print(f'  {_SIGNS[change]} {name} ({change})')
