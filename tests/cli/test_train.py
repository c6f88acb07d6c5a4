"""Changes of a recipe from the command line."""

import pytest

from fgvc_zoo import UserError
from fgvc_zoo_cli.train import parse_changes


def test_values_are_yaml():
    assert parse_changes(['lr=0.1', 'augmentation.scale=[0.2, 1]', 'ema_decay=null', 'task=wsdan', ' epochs =3']) == {
        'lr': 0.1, 'augmentation.scale': [0.2, 1], 'ema_decay': None, 'task': 'wsdan', 'epochs': 3}


@pytest.mark.parametrize(('change', 'words'), [('lr', "takes key=value, not 'lr'"), ('lr=[', "'\\[' is not a value")])
def test_mistakes_are_named(change, words):
    with pytest.raises(UserError, match=words):
        parse_changes([change])
