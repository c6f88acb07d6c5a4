"""What the neighbours' tests share: no network, and a photograph."""

import socket
from pathlib import Path

import pytest
from PIL import Image

from fgvc_zoo.loading import eval_transform_for, load_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Whatever a neighbour would fetch or report, it fails at once and the test with it."""
    def refuse(self, address):
        if self.family != socket.AF_UNIX:
            raise AssertionError(f'a connection to {address} was tried')
        return connect(self, address)

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture
def model(run_folder):
    """The model of `run_folder`."""
    return load_model(str(run_folder))


@pytest.fixture
def picture(photos):
    """A photograph."""
    with Image.open(photos / 'test' / 'kiwi' / '0.jpg') as image:
        return image.convert('RGB')


@pytest.fixture
def pixels(model, picture):
    """The photograph as the model wants it: (1, 3, 64, 64)."""
    return eval_transform_for(model)(picture)[None]
