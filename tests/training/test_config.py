"""What must be equal before a run can be resumed."""

import dataclasses

from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig


def test_identity():
    config = TrainConfig(model='wsdan', data='photos', output='runs/a', recipe=load_recipe('wsdan'))
    same = dataclasses.replace(config, output='runs/b', workers=9, progress=False, resume=True, device='cpu')
    assert same.identity() == config.identity()
    for change in (dict(seed=1), dict(model='wsban'), dict(train_split='fit'), dict(recipe=config.recipe.replace(lr=0.5))):
        assert dataclasses.replace(config, **change).identity() != config.identity()
