"""Hooks of `mkdocs build`: pages from outside this folder, and links to files of the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[1]
# files of the repository that are pages or pictures of the site too
ELSEWHERE = {
    'benchmarks/README.md': 'benchmarks.md', 'CHANGELOG.md': 'changelog.md', 'CONTRIBUTING.md': 'contributing.md',
    'benchmarks/results/checks/operations.png': 'operations.png'}
LINK = re.compile(r'(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)')


def on_files(files: Files, config: Any) -> Files:
    from mkdocs.structure.files import File  # `relink` needs no mkdocs

    for source, page in ELSEWHERE.items():
        path = ROOT / source
        content = relink(path.read_text(encoding='utf-8'), source, page, config.repo_url) if path.suffix == '.md' else path.read_bytes()
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    place = page.file.src_uri
    return markdown if place in ELSEWHERE.values() else relink(markdown, f'docs/{place}', place, config.repo_url)


def relink(text: str, source: str, page: str, repository: str | None) -> str:
    """A page's text with every link to a file as a link of the site; to the repository, or none, if the site does not have that file.

    Args:
        text: Markdown.
        source: Where the text is in the repository.
        page: Where it is in the site.
        repository: Address of the repository, if it has one.
    """
    def replace(match: re.Match[str]) -> str:
        sign, words, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        inside = ELSEWHERE.get(path) or (path.removeprefix('docs/') if path.startswith('docs/') else None)
        if inside is not None:
            return f'{sign}[{words}]({posixpath.relpath(inside, posixpath.dirname(page) or ".")}{anchor or ""})'
        return f'{sign}[{words}]({repository.rstrip("/")}/blob/main/{path}{anchor or ""})' if repository else words

    return LINK.sub(replace, text)
