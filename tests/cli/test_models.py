"""`fgvc-zoo models`: what is registered."""

import io
import json

import pytest

from fgvc_zoo_cli import models as command


def test_models_lists_what_is_registered(call):
    status, out, _ = call('models', '--json')
    assert status == 0
    names = [row['name'] for row in json.loads(out)]
    assert 'wsdan_resnet50' in names
    assert call('models', '*inception*')[1].count('wsdan_inception_v3') == 1
    assert call('models', 'nothing*')[0] == 2


@pytest.mark.parametrize(('terminal', 'width'), [(True, 80), (True, 60), (True, 200), (False, 80)])
def test_names_are_on_one_line(call, monkeypatch, terminal, width):
    from rich.console import Console

    names = [row['name'] for row in json.loads(call('models', '--json')[1])]
    text = io.StringIO()
    monkeypatch.setattr(command, 'console', lambda: Console(file=text, force_terminal=terminal, width=width, color_system=None))
    assert call('models')[0] == 0
    lines = text.getvalue().splitlines()
    assert [line.split()[0] for line in lines[1:] if not line.startswith(' ')] == names
    if terminal and width >= 80:
        assert max(map(len, map(str.rstrip, lines))) <= width
    if not terminal:
        assert len(lines) == 1 + len(names) and any('5,994 photographs' in line for line in lines)


def test_the_size_of_an_architecture_is_that_of_its_training(call):
    """The default checkpoint of one may have another."""
    from fgvc_zoo.recipes import load_recipe
    from fgvc_zoo.training.models import build_model

    _, out, _ = call('models', 'wsdan_tf_efficientnet_lite0*', '--json')
    sizes = {row['name']: row['input_size'] for row in json.loads(out)}
    model = build_model('wsdan_tf_efficientnet_lite0', load_recipe('wsdan'), 2, False)
    assert sizes['wsdan_tf_efficientnet_lite0'] == model.pretrained_cfg['input_size'][-1] == 224
    assert sizes['wsdan_tf_efficientnet_lite0.cub200'] == 448
