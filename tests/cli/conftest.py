"""Run the command in this process."""

import sys

import pytest

import fgvc_zoo_cli


@pytest.fixture
def call(capsys, monkeypatch):
    """Run `fgvc-zoo` with arguments: (exit status, standard output, standard error)."""
    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['fgvc-zoo', *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            fgvc_zoo_cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err
    return run
