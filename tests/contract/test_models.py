"""What holds for every method of this package, asked for by name: a method that is missing fails."""

from typing import ClassVar

import pytest

pytest.register_assert_rewrite('fgvc_zoo.testing')

from fgvc_zoo.models import METHODS  # noqa: E402
from fgvc_zoo.testing import MethodContract  # noqa: E402


class TestWSDAN(MethodContract):
    method = 'wsdan'


class TestWSBAN(MethodContract):
    method = 'wsban'


class TestAPINet(MethodContract):
    method = 'apinet'


class TestOSME(MethodContract):
    method = 'osme'


class TestRACNN(MethodContract):
    method = 'racnn'
    task_args: ClassVar = dict(proposal_steps=1, classification_steps=1, ranking_steps=1)  # a few steps run all phases


def test_every_method_of_this_package_is_here():
    own = {name for name, method in METHODS.items() if method.package == 'fgvc-zoo'}
    assert own == {TestWSDAN.method, TestWSBAN.method, TestAPINet.method, TestOSME.method, TestRACNN.method}
