"""Downloads from the Hub with their hashes checked, and errors of the Hub as one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, get_token, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import get_session

from fgvc_zoo._errors import UserError, first_line
from fgvc_zoo._files import git_sha1, sha256

LOG_IN = 'log in with `hf auth login` or set HF_TOKEN'
_SECONDS = 10.0  # that the Hub has to answer at all


def download(name: str, files: Sequence[str] | None = None, cache_dir: str | Path | None = None) -> Path:
    """Download files of one revision of a repository into huggingface_hub's cache.

    huggingface_hub checks only the length; we also check the hash. A damaged file is removed from the cache, so that the next call
    downloads it again.

    Args:
        name: 'ORG/NAME', with '@REVISION' for a branch, a tag or a commit.
        files: File names; those that do not exist are skipped. All files if None.
        cache_dir: Cache folder; huggingface_hub's own if None.

    Returns:
        The folder with the files.

    Raises:
        UserError: The download fails, or a file is damaged.
    """
    repo_id, _, revision = name.partition('@')
    with hub_errors(f"'{name}' could not be fetched"):
        folder = Path(snapshot_download(
            repo_id, revision=revision or None, allow_patterns=list(files) if files else None, cache_dir=cache_dir))
    for path in sorted(folder.rglob('*')):
        if path.is_symlink() and (files is None or path.name in files) and not _is_intact(path):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise UserError(f"'{path.relative_to(folder)}' of '{name}' was damaged in transfer or on this disk: its hash is not the Hub's; "
                            "it has been removed from the cache, so try again")
    return folder


def check_reachable(repo_id: str, what: str, instead: str) -> None:
    """Find out within seconds that the Hub cannot be reached, which huggingface_hub retries for a minute.

    Args:
        repo_id: Repository whose weights are wanted. Nothing is asked if they are in the cache.
        what: Beginning of the message: "the weights of 'x'".
        instead: End of the message: what else can be done.

    Raises:
        UserError: The weights are not in the cache, and the Hub does not answer.
    """
    if constants.HF_HUB_OFFLINE or isinstance(try_to_load_from_cache(repo_id, 'model.safetensors'), str):
        return
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS, follow_redirects=False)
    except HTTPError as error:
        reason = first_line(error) or type(error).__name__
        raise UserError(f'{what} could not be fetched: the Hub cannot be reached ({reason}); {instead}') from None


def _is_intact(path: Path) -> bool:
    """Whether a cached file has the hash in the name of its blob: SHA-256 for large files, the git blob SHA-1 for others."""
    etag = Path(os.readlink(path)).name
    if re.fullmatch('[0-9a-f]{64}', etag):
        return sha256(path) == etag
    return not re.fullmatch('[0-9a-f]{40}', etag) or git_sha1(path) == etag


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn errors of the Hub, of its client and of the connection into a `UserError`.

    The original error is not chained: it can quote the server's message, which can contain the token.

    Args:
        what: Beginning of the message: "'x' could not be fetched".
    """
    try:
        yield
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        reason = None if isinstance(error, UserError) else hub_reason(error)
        if reason is None:
            raise
        raise UserError(f'{what}: {reason}') from None


def hub_reason(error: BaseException) -> str | None:
    """The cause and what to do, as the end of a sentence; None if the error does not come from the Hub or the connection."""
    causes = [error]
    while (following := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(following)
    reasons = [reason for cause in causes if (reason := _reason(cause)) is not None]
    if not reasons and any(isinstance(cause, LocalEntryNotFoundError) for cause in causes):
        reasons = ['it is not in the local cache, and the Hub cannot be reached']
    return _without_token(reasons[0]) if reasons else None


def _reason(error: BaseException) -> str | None:
    if isinstance(error, GatedRepoError):
        return f'access to it must be asked for on its page; then {LOG_IN}'
    if isinstance(error, RepositoryNotFoundError):
        return f'there is no such repository, or it is private and you are not logged in; check the name, or {LOG_IN}'
    if isinstance(error, RevisionNotFoundError):
        return 'it has no such revision; check the name behind the @'
    if isinstance(error, RemoteEntryNotFoundError):
        return f"it has no file '{error.response.request.url.path.rpartition('/')[2]}'"
    if isinstance(error, HFValidationError):
        return "that is not a repository's name; write ORG/NAME"
    if isinstance(error, OfflineModeIsEnabled):
        return 'it needs the network, which HF_HUB_OFFLINE forbids; unset it'
    if isinstance(error, HfHubHTTPError):
        return _reason_of_status(error)
    if isinstance(error, HTTPError):
        return f'the connection to the Hub failed ({first_line(error) or type(error).__name__}); try again'
    if isinstance(error, OSError) and 'Consistency check failed' in str(error):
        return 'the download ended early; try again'
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f'{error.strerror} ({error.filename})' if error.filename else str(error.strerror)
    return None


def _reason_of_status(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    message = (error.server_message or '').split('\n')[0] or error.response.reason_phrase
    if status == 401:
        return f'the token is not valid; {LOG_IN}'
    if status == 403:
        return f'the token does not allow it ({message}); use one with the right to write there'
    if status in (409, 412):
        return f'somebody changed it at the same time ({message}); look at it and try again'
    if status == 429:
        seconds = error.response.headers.get('retry-after')
        return f"there were too many requests; try again {f'in {seconds} seconds' if seconds else 'later'}"
    if status >= 500:
        return f'the Hub has trouble ({status} {error.response.reason_phrase}); try again later'
    return f'the Hub refused ({status}: {message})'


def _without_token(text: str) -> str:
    token = get_token()
    return re.sub(r'hf_\w+', 'hf_...', text.replace(token, 'hf_...') if token else text)
