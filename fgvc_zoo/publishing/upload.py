"""Publish a staged folder as one commit of a repository on the Hub."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from fgvc_zoo._errors import UserError
from fgvc_zoo._files import git_sha1, sha256
from fgvc_zoo._transfer import LOG_IN, hub_errors
from fgvc_zoo.publishing.staging import CHECKSUMS, OPTIONAL, WEIGHTS, check

_WAITS = (1.0, 3.0)  # seconds before each retry of a call that huggingface_hub does not retry itself
_LONGEST_WAIT = 30.0  # seconds; a longer Retry-After is an error

Result = TypeVar('Result')


class Published(NamedTuple):
    """What `publish` did.

    Attributes:
        url: URL of the repository.
        revision: Commit that holds the folder's files.
        changes: File name -> 'added', 'changed', 'removed' or 'unchanged'.
    """

    url: str
    revision: str
    changes: dict[str, str]


def compare(folder: Path, repo_id: str, revision: str | None = None) -> dict[str, str] | None:
    """Compare a staged folder with the Hub: file name -> 'added', 'changed', 'removed' or 'unchanged'; None if the Hub cannot be reached.

    Raises:
        UserError: The Hub refuses, or the card is for another repository.
    """
    _check_card(folder, repo_id)
    with hub_errors(f"'{repo_id}' could not be compared"):
        try:
            return _changes(HfApi(), folder, repo_id, revision)[1]
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            if isinstance(error, GatedRepoError):
                raise
            return dict.fromkeys(_published_names(folder), 'added')
        except (HTTPError, OfflineModeIsEnabled) as error:
            if isinstance(error, HfHubHTTPError):
                raise
            return None


def publish(folder: Path, repo_id: str, private: bool = False, revision: str | None = None, tag: str | None = None) -> Published:
    """Publish a staged folder as one commit with the changed files. No change, no commit.

    The published revision does not change before that commit, so an interrupted call can be repeated. Files in the repository that `stage`
    does not write are kept.

    Args:
        folder: A folder written by `stage`.
        repo_id: 'ORG/NAME'; created if it does not exist.
        private: Create it private; an existing repository keeps its visibility.
        revision: Branch, created from main if it does not exist; main if None.
        tag: Name for the published revision.

    Raises:
        UserError: The folder is damaged or its card is for another repository, there is no token, the Hub refuses or cannot be reached,
            somebody else published at the same time, or the tag exists for another revision.
    """
    check(folder)
    _check_card(folder, repo_id)
    api = HfApi()
    with hub_errors(f"'{repo_id}' could not be published"):
        if get_token() is None:
            raise UserError(f'publishing needs a token: {LOG_IN}')
        url = str(_with_retries(lambda: api.create_repo(repo_id, private=private or None, exist_ok=True)))
        if revision is not None:
            _with_retries(lambda: api.create_branch(repo_id, branch=revision, exist_ok=True))
        head, changes = _changes(api, folder, repo_id, revision)
        changed = [name for name, change in changes.items() if change != 'unchanged']
        tags = {item.name: item.target_commit for item in _with_retries(lambda: api.list_repo_refs(repo_id)).tags} if tag else {}
        if tag in tags and (changed or tags[tag] != head):
            raise UserError(f"the tag '{tag}' of '{repo_id}' marks another revision ({tags[tag][:7]}); choose another tag")
        commit = _commit(api, folder, repo_id, revision, head, changes) if changed else head
        if tag is not None and tag not in tags:
            _with_retries(lambda: api.create_tag(repo_id, tag=tag, revision=commit, exist_ok=True))
    return Published(url, commit, changes)


def _check_card(folder: Path, repo_id: str) -> None:
    if f"hf-hub:{repo_id}'" not in (folder / 'README.md').read_text(encoding='utf-8'):
        raise UserError(f"the card in '{folder}' is not for '{repo_id}'; stage the run again for that name")


def _commit(api: HfApi, folder: Path, repo_id: str, revision: str | None, head: str, changes: dict[str, str]) -> str:
    """Create one commit on top of `head`, or fail without any change."""
    additions = [CommitOperationAdd(name, folder / name) for name, change in changes.items() if change in ('added', 'changed')]
    deletions = [CommitOperationDelete(name) for name, change in changes.items() if change == 'removed']
    changed = [name for name, change in changes.items() if change != 'unchanged']
    message = f"Publish {repo_id.split('/')[-1]}" if changes[WEIGHTS] == 'added' else f"Update {', '.join(changed)}"
    api.preupload_lfs_files(repo_id, additions, revision=revision, free_memory=False)
    try:
        return _with_retries(lambda: api.create_commit(
            repo_id, [*additions, *deletions], commit_message=message, revision=revision, parent_commit=head)).oid
    except HTTPError:
        # the commit may exist although the response was lost, or somebody else may have published the same files
        current, remaining = _changes(api, folder, repo_id, revision)
        if set(remaining.values()) != {'unchanged'}:
            raise
        return current


def _changes(api: HfApi, folder: Path, repo_id: str, revision: str | None) -> tuple[str, dict[str, str]]:
    """The published commit, and how each file of the folder differs from it."""
    head = _with_retries(lambda: api.repo_info(repo_id, revision=revision)).sha
    assert head is not None
    published = {item.path: item for item in api.list_repo_tree(repo_id, recursive=True, revision=head) if isinstance(item, RepoFile)}
    changes = {}
    for name in _published_names(folder):
        remote = published.get(name)
        if remote is None:
            changes[name] = 'added'
        else:
            same = sha256(folder / name) == remote.lfs.sha256 if remote.lfs else git_sha1(folder / name) == remote.blob_id
            changes[name] = 'unchanged' if same else 'changed'
    changes.update({name: 'removed' for name in OPTIONAL if name in published and name not in changes})
    return head, changes


def _published_names(folder: Path) -> list[str]:
    return sorted([*json.loads((folder / CHECKSUMS).read_text(encoding='utf-8')), CHECKSUMS])


def _with_retries(call: Callable[[], Result]) -> Result:
    """Retry transient errors of the Hub and of the connection; honour a Retry-After of up to 30 seconds."""
    for wait in _WAITS:
        try:
            return call()
        except HTTPError as error:
            if isinstance(error, HfHubHTTPError):
                if error.response.status_code not in (429, 500, 502, 503, 504):
                    raise
                asked = error.response.headers.get('retry-after', '')
                wait = max(wait, float(asked) if asked.isdigit() else 0.0)
                if wait > _LONGEST_WAIT:
                    raise
            time.sleep(wait)
    return call()
