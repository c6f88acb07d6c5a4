"""Retries; tests/hub/test_publishing.py publishes to a Hub."""

from http import HTTPStatus
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from fgvc_zoo.publishing import upload


@pytest.fixture
def waits(monkeypatch):
    seconds = []
    monkeypatch.setattr(upload.time, 'sleep', seconds.append)
    return seconds


def failing(count, error):
    """A call that fails `count` times."""
    def call():
        calls.append(1)
        if len(calls) <= count:
            raise error
        return 'done'
    calls = []
    call.calls = calls
    return call


def answered(status, **headers):
    """The error of a response, whose class depends on the version of huggingface_hub."""
    return HfHubHTTPError('no', response=SimpleNamespace(
        status_code=status, headers=headers, request=None, reason_phrase=HTTPStatus(status).phrase))


@pytest.mark.parametrize('error', [answered(429), answered(502), answered(504), HTTPError('refused')])
def test_transient_errors_are_retried(waits, error):
    assert upload._with_retries(failing(2, error)) == 'done'
    assert waits == [1.0, 3.0]


def test_the_last_error_is_raised(waits):
    call = failing(3, answered(503))
    with pytest.raises(HfHubHTTPError):
        upload._with_retries(call)
    assert len(call.calls) == 3


@pytest.mark.parametrize('error', [answered(404), answered(403), answered(429, **{'retry-after': '31'})])
def test_other_errors_and_long_waits_are_not(waits, error):
    call = failing(1, error)
    with pytest.raises(HfHubHTTPError):
        upload._with_retries(call)
    assert len(call.calls) == 1 and waits == []


def test_retry_after_is_honoured(waits):
    assert upload._with_retries(failing(2, answered(429, **{'retry-after': '20'}))) == 'done'
    assert waits == [20.0, 20.0]
