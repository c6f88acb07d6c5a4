"""What the loopback Hub keeps: repositories with real revisions."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone

from fastapi.responses import JSONResponse


@dataclass(frozen=True)
class Blob:
    """The content of a file."""

    content: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def git_oid(self) -> str:
        """Git's name of what it stores: the content, or the LFS pointer to it."""
        stored = self.content
        if self.lfs:
            stored = f'version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(stored)}\n'.encode()
        return hashlib.sha1(b'blob %d\0' % len(stored) + stored).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_oid


@dataclass(frozen=True)
class Commit:
    """A revision: all files as they were."""

    parent: str | None
    title: str
    files: dict[str, Blob]
    author: str
    date: str

    @property
    def oid(self) -> str:
        names = {path: blob.git_oid for path, blob in sorted(self.files.items())}
        return hashlib.sha1(json.dumps([self.parent, self.title, self.author, self.date, names]).encode()).hexdigest()


@dataclass
class Repo:
    """A repository of a model, or of a Space."""

    id: str
    private: bool = False
    gated: bool = False
    sdk: str = ''  # of a Space
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, title: str, files: dict[str, Blob], author: str) -> str:
        """Add a revision to a branch."""
        commit = Commit(self.branches.get(branch), title, files, author, datetime.now(timezone.utc).isoformat())
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit.oid

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or the beginning of a commit id names."""
        named = self.branches.get(revision) or self.tags.get(revision)
        if named is None and re.fullmatch('[0-9a-f]{7,40}', revision):
            named = next((oid for oid in self.commits if oid.startswith(revision)), None)
        return named

    def log(self, oid: str | None) -> list[str]:
        """Commit ids from `oid` back to the first."""
        ids = []
        while oid is not None:
            ids.append(oid)
            oid = self.commits[oid].parent
        return ids

    def files(self, revision: str = 'main') -> dict[str, bytes]:
        """Path -> content at a revision."""
        oid = self.resolve(revision)
        assert oid is not None, f'no revision {revision}'
        return {path: blob.content for path, blob in self.commits[oid].files.items()}

    @property
    def history(self) -> list[str]:
        """Titles of main's commits, newest first."""
        return [self.commits[oid].title for oid in self.log(self.branches['main'])]


class HubError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str, code: str | None = None, **more: str) -> None:
        headers = {'X-Error-Message': message, **({'X-Error-Code': code} if code else {}), **more}
        self.response = JSONResponse({'error': message}, status, headers)


def owns(user: tuple[str, str], repo_id: str) -> bool:
    """Whether a user, (name, role), may see and change what is private there: their own, and `tester` that of the organisation `zoo`."""
    owner = repo_id.partition('/')[0]
    return owner == user[0] or (owner == 'zoo' and user[0] == 'tester')
