"""Publish the demo as a Space of the Hugging Face Hub: the files of hub/space, and the package beside them.

    python hub/publish_space.py ORG
    python hub/publish_space.py ORG --dry-run      # stage it in published/space; `python published/space/app.py` starts it

The package goes along because it is in no package registry. What a Space installs is in hub/space/requirements.txt.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from huggingface_hub import HfApi, get_token

from fgvc_zoo import UserError
from fgvc_zoo._transfer import LOG_IN, hub_errors

ROOT = Path(__file__).parents[1]


def stage_space(folder: Path) -> Path:
    """Write everything that the Space holds into a folder, and remove what an earlier staging left there. Returns the folder.

    Raises:
        UserError: The folder holds something else.
    """
    if folder.exists():
        if any(folder.iterdir()) and not ((folder / 'app.py').is_file() and (folder / 'fgvc_zoo' / 'version.py').is_file()):
            raise UserError(f"'{folder}' holds other files, which would be removed: choose a folder of its own")
        shutil.rmtree(folder)
    ignore = shutil.ignore_patterns('__pycache__')
    shutil.copytree(ROOT / 'hub' / 'space', folder, ignore=ignore)
    shutil.copytree(ROOT / 'fgvc_zoo', folder / 'fgvc_zoo', ignore=ignore)
    return folder


def publish_space(folder: Path, repo_id: str, private: bool = False) -> str:
    """Make a Space hold the files of a folder and no others, in one commit; none if it does already. Returns the Space's URL.

    Raises:
        UserError: There is no token, or the Hub refuses or cannot be reached.
    """
    api = HfApi()
    with hub_errors(f"'{repo_id}' could not be published"):
        if get_token() is None:
            raise UserError(f'publishing needs a token: {LOG_IN}')
        url = api.create_repo(repo_id, repo_type='space', space_sdk='gradio', private=private or None, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id, repo_type='space', folder_path=folder, delete_patterns='*', commit_message=f"Publish {repo_id.split('/')[-1]}")
    return str(url)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('org', help='user or organisation on the Hub')
    parser.add_argument('--name', default='fgvc-zoo', help='name of the Space')
    parser.add_argument('--output', type=Path, default=Path('published/space'), help='where the Space is staged')
    parser.add_argument('--dry-run', action='store_true', help='stage it only')
    parser.add_argument('--private', action='store_true', help='create the Space private')
    options = parser.parse_args()
    folder = stage_space(options.output)
    print(f'staged in {folder}' if options.dry_run else publish_space(folder, f'{options.org}/{options.name}', options.private))


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        raise SystemExit(f'error: {error}') from None
