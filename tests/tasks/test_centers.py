"""Class centres as a task's state."""

import pytest
import timm
import torch

import fgvc_zoo  # noqa: F401
from fgvc_zoo import UserError
from fgvc_zoo.tasks import create_task


def make(method, **args):
    model = timm.create_model(method, backbone='test_resnet', num_classes=3, num_maps=4)
    return create_task(method, model, **args)


@pytest.mark.parametrize('method', ['wsban', 'wsdan'])
def test_centres_are_saved_with_the_training_and_not_with_the_model(method):
    task, other = make(method), make(method)
    task(torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 1]))
    assert task.centers.any() and not other.centers.any()
    other.load_task_state(task.get_task_state())
    torch.testing.assert_close(other.centers, task.centers)
    assert 'centers' not in task.trainable_module.state_dict()


@pytest.mark.parametrize('args', [dict(center_rule='emma'), dict(center_beta=0), dict(center_beta=1.5)])
def test_options_out_of_range_are_named(args):
    with pytest.raises(UserError, match=next(iter(args))):
        make('wsdan', **args)
