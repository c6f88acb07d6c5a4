"""Links of the documentation site."""

import importlib.util
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location('site_hooks', Path(__file__).parents[2] / 'docs' / 'site.py')
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


@pytest.mark.parametrize(('link', 'without', 'with_repository'), [
    ('[a](../explain.md#top)', '[a](../explain.md#top)', None), ('![a](wsdan_training.svg)', '![a](wsdan_training.svg)', None),
    ('[a](../../benchmarks/README.md#x)', '[a](../benchmarks.md#x)', None), ('[a](../../CHANGELOG.md)', '[a](../changelog.md)', None),
    ('[a](../../examples/onnx_predict.py)', 'a', '[a](https://example.org/zoo/blob/main/examples/onnx_predict.py)'),
    ('[a](https://example.org)', '[a](https://example.org)', None), ('[a](#here)', '[a](#here)', None)])
def test_links_lead_to_pages_or_to_the_repository(link, without, with_repository):
    place = dict(source='docs/methods/wsdan.md', page='methods/wsdan.md')
    assert hooks.relink(link, **place, repository=None) == without
    assert hooks.relink(link, **place, repository='https://example.org/zoo/') == (with_repository or without)


def test_a_page_from_elsewhere_links_into_the_site():
    text = hooks.relink('[a](../docs/speed.md) [b](results/checks/operations.png)', 'benchmarks/README.md', 'benchmarks.md', None)
    assert text == '[a](speed.md) [b](operations.png)'
