"""`fgvc-zoo models`: what is registered."""

import json


def test_models_lists_what_is_registered(call):
    status, out, _ = call('models', '--json')
    assert status == 0
    names = [row['name'] for row in json.loads(out)]
    assert 'wsdan_resnet50' in names
    assert call('models', '*inception*')[1].count('wsdan_inception_v3') == 1
    assert call('models', 'nothing*')[0] == 2
