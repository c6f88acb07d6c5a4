"""Downloads and errors of the Hub without a Hub; tests/hub/test_pulling.py has one."""

import hashlib
from http import HTTPStatus
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

from fgvc_zoo import UserError, _transfer
from fgvc_zoo._transfer import hub_errors, hub_reason


def answered(status, **headers):
    """The error of a response, whose class depends on the version of huggingface_hub."""
    return HfHubHTTPError('no', response=SimpleNamespace(
        status_code=status, headers=headers, request=None, reason_phrase=HTTPStatus(status).phrase))


@pytest.mark.parametrize(('error', 'words'), [
    (answered(401), 'the token is not valid'),
    (answered(403), 'the token does not allow it'),
    (answered(409), 'at the same time'),
    (answered(429), 'try again later'),
    (answered(429, **{'retry-after': '7'}), 'try again in 7 seconds'),
    (answered(503), 'the Hub has trouble (503'),
    (answered(418), 'the Hub refused (418'),
    (HFValidationError('a b'), 'write ORG/NAME'),
    (OfflineModeIsEnabled('offline'), 'HF_HUB_OFFLINE'),
    (LocalEntryNotFoundError('gone'), 'not in the local cache'),
    (OSError('Consistency check failed: 3 bytes'), 'the download ended early'),
    (OSError(28, 'No space left on device', '/cache'), 'No space left on device (/cache)'),
])
def test_reasons(error, words):
    assert words in hub_reason(error)


def test_a_cause_further_down_is_found_and_other_errors_are_not_touched():
    try:
        try:
            raise answered(503)
        except HfHubHTTPError as error:
            raise LocalEntryNotFoundError('not cached') from error
    except LocalEntryNotFoundError as error:
        assert '503' in hub_reason(error)
    assert hub_reason(ValueError('of our own')) is None
    with pytest.raises(ValueError, match='of our own') as caught, hub_errors('x'):
        raise ValueError('of our own')
    assert not isinstance(caught.value, UserError)


def test_the_token_is_not_shown(monkeypatch):
    monkeypatch.setattr(_transfer, 'get_token', lambda: 'secret-token')
    with pytest.raises(UserError) as caught, hub_errors("'a/b' could not be fetched"):
        raise OSError(13, 'denied for secret-token and hf_abcdef', None)
    assert str(caught.value) == "'a/b' could not be fetched: denied for hf_... and hf_..."
    assert caught.value.__cause__ is None


@pytest.mark.parametrize('name', [
    hashlib.sha256(b'content').hexdigest(), hashlib.sha1(b'blob 7\0content').hexdigest(), 'an-etag-of-another-kind'])
def test_a_cached_file_is_compared_with_the_name_of_its_blob(tmp_path, name):
    (tmp_path / name).write_bytes(b'content')
    link = tmp_path / 'file'
    link.symlink_to(tmp_path / name)
    assert _transfer._is_intact(link)
    (tmp_path / name).write_bytes(b'cont?nt')
    assert _transfer._is_intact(link) == (name == 'an-etag-of-another-kind')
