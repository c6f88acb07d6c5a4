"""`fgvc-zoo classes`: the names of a model's classes."""

import json

from fgvc_zoo.checkpoints import load_manifest


def test_names_are_those_of_the_labels_file(call):
    item = next(item for item in load_manifest() if item.name == 'wsdan_tf_efficientnet_lite0.cub200')
    status, out, err = call('classes', item.name)
    assert (status, err) == (0, '')
    assert out.splitlines() == list(item.label_names()) and len(item.label_names()) == 200
    assert json.loads(call('classes', item.name, '--json')[1]) == list(item.label_names())


def test_a_run_folder_and_a_mistake(call, run_folder):
    assert call('classes', run_folder)[1] == 'gala\nkiwi\nleek\n'
    status, _, err = call('classes', 'wsdan_tf_efficientnet_lite')
    assert status == 2 and 'there is no trained model' in err
