"""`fgvc-zoo publish`: mistakes that are found before the Hub is asked. tests/hub publishes."""

import pytest


@pytest.mark.parametrize(('args', 'words'), [
    (['{run}', 'apples', '--license', 'MIT'], 'write ORG/NAME'),
    (['{run}', 'tester/apples'], 'the weights need a licence'),
    (['{run}', 'tester/apples', '--license', 'MIT'], 'measure the model first'),
    (['{tmp}/nowhere', 'tester/apples', '--license', 'MIT'], 'there is no folder'),
    (['wsdan_tf_efficientnet_lite0.grocery82', 'tester/apples'], "did you mean 'wsdan_tf_efficientnet_lite0.grocery81'"),
    (['wsdan_tf_efficientnet_lite0.grocery81', 'tester/apples', '--license', 'MIT'], 'give none of them'),
])
def test_mistakes(call, run_folder, tmp_path, args, words):
    status, _, err = call('publish', *[arg.format(run=run_folder, tmp=tmp_path) for arg in args])
    assert status == 2
    assert words in err
