"""Good images are answered, bad ones reported, in order."""

import pytest
import timm
import torch

from fgvc_zoo import UserError
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.data import load_image
from fgvc_zoo.loading import eval_transform_for, load_model
from fgvc_zoo.prediction import check_input_size, predict


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


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('batch_size', [1, 4, 64])
def test_batches_processes_and_iterators_change_no_probability(run_folder, photos, tmp_path, workers, batch_size):
    model = load_model(str(run_folder))
    bad = tmp_path / 'bad.jpg'
    bad.write_bytes(b'nothing')
    paths = [*sorted((photos / 'test').rglob('*.jpg')), bad, *sorted((photos / 'train').rglob('*.jpg'))]
    expected = list(predict(model, paths, batch_size=2))
    for given in (paths, iter(paths)):
        for answer, other in zip(predict(model, given, batch_size=batch_size, workers=workers), expected, strict=True):
            assert (answer.path, answer.names, answer.error) == (other.path, other.names, other.error)
            assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-6)


def test_it_is_lazy(run_folder, photos):
    """The first answer comes although the paths never end."""
    path = next((photos / 'test').rglob('*.jpg'))
    answers = predict(load_model(str(run_folder)), (path for _ in iter(int, 1)), batch_size=2)
    assert [next(answers).path for _ in range(3)] == [path] * 3
    answers.close()


def test_improbable_classes_are_left_out_and_the_others_stay(run_folder, photos):
    model = load_model(str(run_folder))
    path = next((photos / 'test').rglob('*.jpg'))
    whole, = predict(model, [path])
    for least in (0, whole.probabilities[1], 1):
        answer, = predict(model, [path], min_probability=least)
        kept = [value for value in whole.probabilities if value >= least]
        assert answer.probabilities == pytest.approx(kept, abs=1e-6) and answer.names == whole.names[:len(kept)]
        assert answer.error is None
    with pytest.raises(UserError, match='min_probability'):
        next(predict(model, [path], min_probability=1.5))


def test_numbers_and_paths_that_cannot_be_used(run_folder, photos):
    model = load_model(str(run_folder))
    path = next((photos / 'test').rglob('*.jpg'))
    for options, words in ((dict(batch_size=0), 'batch_size'), (dict(top=0), 'top')):
        with pytest.raises(UserError, match=words):
            next(predict(model, [path], **options))
    for single in (path, str(path)):
        with pytest.raises(UserError, match='is one path, and predict takes several'):
            next(predict(model, single))


def test_a_model_that_takes_no_photographs_or_has_no_classes(photos):
    path = next((photos / 'test').rglob('*.jpg'))
    for options, words in ((dict(in_chans=1, num_classes=3), 'created with in_chans=1, and photographs have 3'),
                           (dict(num_classes=0), 'has no classes')):
        with pytest.raises(UserError, match=words):
            next(predict(timm.create_model('wsdan', backbone='test_resnet', **options).eval(), [path]))


def test_another_input_size(run_folder, photos):
    model = load_model(str(run_folder))
    path = next((photos / 'test').rglob('*.jpg'))
    answer, = predict(model, [path], input_size=96, explain=True)
    assert 'tensor' not in repr(answer)  # a printed answer stays readable
    assert answer.view.shape == (1, 3, 96, 96)
    with torch.no_grad():
        best = model(eval_transform_for(model, 96)(load_image(path))[None]).softmax(1).max()
    assert answer.probabilities[0] == pytest.approx(best.item(), abs=1e-5)


@pytest.mark.parametrize(('size', 'words'), [
    (64, None), (96, 'does not take images of 96 px .* trained with 64 px'), (8, 'must be in')])
def test_an_input_size_that_the_model_cannot_take(size, words):
    """A vision transformer is tied to its number of patches."""
    model = timm.create_model('test_vit', img_size=64, num_classes=3, dynamic_img_size=False).eval()
    model.pretrained_cfg['input_size'] = (3, 64, 64)
    if words is None:
        check_input_size(model, size)
    else:
        with pytest.raises(UserError, match=words):
            check_input_size(model, size)


def test_a_calibration_changes_probabilities_and_finds_strangers(run_folder, photos):
    """The temperature divides the logits. Below the threshold a photograph is unknown, unless only some classes come into question."""
    model, paths = load_model(str(run_folder)), sorted((photos / 'test').rglob('*.jpg'))
    plain = list(predict(model, paths))
    assert not any(answer.unknown for answer in plain)
    level = sorted(answer.probabilities[0] for answer in plain)[3]
    model.calibration = Calibration(1.0, level, 9)
    assert [answer.unknown for answer in predict(model, paths)] == [answer.probabilities[0] < level for answer in plain]
    assert not any(answer.unknown for answer in predict(model, paths, classes=['gala', 'kiwi']))
    model.calibration = Calibration(0.25, 0.0, 9)
    for before, after in zip(plain, predict(model, paths), strict=True):
        weights = [value ** 4 for value in before.probabilities]
        assert after.names == before.names and not after.unknown
        assert after.probabilities == pytest.approx([weight / sum(weights) for weight in weights], rel=1e-4)
