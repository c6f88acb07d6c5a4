"""Good images are answered, bad ones reported, in order."""

import pytest
import torch

from fgvc_zoo import UserError
from fgvc_zoo.data import load_image
from fgvc_zoo.loading import eval_transform_for, load_model
from fgvc_zoo.prediction import predict


def test_equals_one_image_at_a_time(run_folder, photos):
    model = load_model(str(run_folder))
    paths = sorted((photos / 'test').rglob('*.jpg'))
    for answer, path in zip(predict(model, paths, top=3, batch_size=4), paths, strict=True):
        with torch.no_grad():
            probabilities = model(eval_transform_for(model)(load_image(path))[None]).softmax(1)[0]
        assert answer.path == path
        order = probabilities.argsort(descending=True).tolist()
        assert answer.names == [['gala', 'kiwi', 'leek'][index] for index in order]
        assert answer.probabilities == pytest.approx([probabilities[index].item() for index in order], abs=1e-4)


def test_bad_images_do_not_stop_the_good_ones(run_folder, photos, tmp_path):
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'nothing')
    good = sorted((photos / 'test').rglob('*.jpg'))
    paths = [bad, good[0], tmp_path / 'missing.jpg', good[1], bad, bad]
    answers = list(predict(load_model(str(run_folder)), paths, batch_size=2))
    assert [answer.path for answer in answers] == paths
    assert [answer.error is None for answer in answers] == [False, True, False, True, False, False]
    assert str(bad) in answers[0].error
    assert answers[1].names and not answers[0].names


def test_top_is_at_most_the_number_of_classes(run_folder, photos):
    answer, = predict(load_model(str(run_folder)), [next((photos / 'test').rglob('*.jpg'))], top=99)
    assert len(answer.names) == 3
    assert sum(answer.probabilities) == pytest.approx(1, abs=1e-5)


def test_classes_that_come_into_question_share_the_probability(run_folder, photos):
    model = load_model(str(run_folder))
    path = next((photos / 'test').rglob('*.jpg'))
    whole, = predict(model, [path])
    among, = predict(model, [path], classes=['LEEK', 'gala'])
    probability = dict(zip(whole.names, whole.probabilities, strict=True))
    assert sorted(among.names) == ['gala', 'leek']
    for name, value in zip(among.names, among.probabilities, strict=True):
        assert value == pytest.approx(probability[name] / (probability['gala'] + probability['leek']), abs=1e-5)
    assert among.probabilities == sorted(among.probabilities, reverse=True)


@pytest.mark.parametrize(('classes', 'words'), [
    (['gala', 'kiwy'], "does not know the class 'kiwy', did you mean 'kiwi'"), (['gala'], 'two classes at least .* not 1'),
    (['gala', 'Gala'], 'not 1'), ([], 'not 0')])
def test_classes_that_cannot_be_chosen_from_are_named(run_folder, photos, classes, words):
    with pytest.raises(UserError, match=words):
        list(predict(load_model(str(run_folder)), [next((photos / 'test').rglob('*.jpg'))], classes=classes))
