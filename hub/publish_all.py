"""Publish every checkpoint of the manifest as ORG/ARCHITECTURE.TAG, and write its repository and revision into the manifest.

    python hub/publish_all.py ORG
    python hub/publish_all.py ORG --dry-run --only wsdan_tf_efficientnet_lite0.cub200

Unchanged checkpoints need no commit, so an interrupted run can be repeated. Afterwards
`timm.create_model('wsban_tf_efficientnet_lite0.cub200', pretrained=True)` downloads the published revision.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from fgvc_zoo import UserError
from fgvc_zoo.checkpoints import load_manifest
from fgvc_zoo.publishing import compare, publish, stage_checkpoint, update_manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('org', help='user or organisation on the Hub')
    parser.add_argument('--only', action='append', metavar='NAME', help='one checkpoint of the manifest; can be given several times')
    parser.add_argument('--output', type=Path, default=Path('published'), help='where the repositories are staged')
    parser.add_argument('--dry-run', action='store_true', help='stage, and show what publishing would change')
    parser.add_argument('--private', action='store_true', help='create the repositories private')
    options = parser.parse_args()

    items = load_manifest()
    if unknown := set(options.only or []) - {item.name for item in items}:
        raise UserError(f"the manifest has no checkpoint '{sorted(unknown)[0]}' (there are {', '.join(item.name for item in items)})")
    for item in items:
        if options.only and item.name not in options.only:
            continue
        repo_id = f'{options.org}/{item.name}'
        folder = stage_checkpoint(item, options.output / item.name, repo_id)
        if options.dry_run:
            changes = compare(folder, repo_id)
            if changes is None:
                print(f"{repo_id}: staged in '{folder}'; the Hub cannot be reached, so it was not compared")
            else:
                print(f"{repo_id}: {', '.join(f'{n} {change}' for n, change in changes.items() if change != 'unchanged') or 'unchanged'}")
            continue
        done = publish(folder, repo_id, options.private)
        update_manifest({**asdict(item), 'repo': repo_id, 'revision': done.revision})
        print(f'{done.url} at {done.revision[:7]}')


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        raise SystemExit(f'error: {error}') from None
