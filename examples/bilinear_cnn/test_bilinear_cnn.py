"""The contract that every method of fgvc-zoo keeps."""

import pytest

pytest.register_assert_rewrite('fgvc_zoo.testing')

from fgvc_zoo.testing import MethodContract  # noqa: E402


class TestBilinearCNN(MethodContract):
    method = 'bilinear_cnn'
    backbone = 'test_efficientnet'  # three blocks, so that the tests take seconds
