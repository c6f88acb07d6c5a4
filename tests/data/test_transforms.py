from __future__ import annotations

import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torchvision import transforms

from fgvc_zoo._errors import UserError
from fgvc_zoo.data import Augmentation, eval_transform, inverse_normalize, train_transform
from fgvc_zoo.data.transforms import _limit_aspect

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
STILL = Augmentation(scale=(1.0, 1.0), ratio=(1.0, 1.0), hflip=0.0, color_jitter=0.0)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def normalised(image: Image.Image) -> torch.Tensor:
    """(3, H, W), from the definition."""
    values = np.asarray(image).astype(np.float64) / 255
    values = (values - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(values).permute(2, 0, 1).float()


def test_eval_center_scales_the_short_side_and_cuts_the_middle() -> None:
    image = picture(60, 40)
    # floor(14 / 0.7) = 20, so 60 x 40 becomes 30 x 20; the middle 14 x 14 begins at (8, 3)
    wanted = image.resize((30, 20), Image.Resampling.BICUBIC).crop((8, 3, 22, 17))
    result = eval_transform(14, MEAN, STD, 'bicubic', 0.7)(image)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, normalised(wanted))


def test_eval_squash_scales_both_sides() -> None:
    image = picture(60, 40)
    wanted = image.resize((16, 16), Image.Resampling.BILINEAR).crop((1, 1, 15, 15))
    result = eval_transform(14, MEAN, STD, 'bilinear', 0.875, crop_mode='squash')(image)
    torch.testing.assert_close(result, normalised(wanted))


def test_eval_border_shows_everything() -> None:
    result = eval_transform(20, MEAN, STD, 'bilinear', 1.0, crop_mode='border')(Image.new('RGB', (40, 20), 'white'))
    seen = inverse_normalize(result, MEAN, STD)
    assert (seen[5:15] == 255).all()  # 40 x 20 becomes 20 x 10, between bands of the mean colour
    np.testing.assert_array_equal(seen[0, 0], [round(255 * value) for value in MEAN])


@pytest.mark.parametrize('size', [(1, 1), (1, 300), (300, 1)])
def test_eval_of_strange_shapes(size: tuple[int, int]) -> None:
    for mode in ('center', 'squash', 'border'):
        result = eval_transform(16, MEAN, STD, 'bicubic', 0.875, mode)(Image.new('RGB', size, (200, 100, 50)))
        assert result.shape == (3, 16, 16) and result.isfinite().all()


def test_very_long_pictures_are_cut_to_their_middle() -> None:
    image = picture(1000, 3)
    assert np.array_equal(np.asarray(_limit_aspect(image)), np.asarray(image)[:, 452:548])
    assert np.array_equal(np.asarray(_limit_aspect(image.rotate(90, expand=True))),
                          np.asarray(image.rotate(90, expand=True))[452:548])
    ordinary = picture(96, 3)
    assert _limit_aspect(ordinary) is ordinary


@pytest.mark.parametrize(('change', 'says'), [
    (dict(interpolation='bicubi'), "'bicubic'"), (dict(crop_mode='squish'), "'squash'"),
    (dict(crop_pct=0.0), 'crop_pct'), (dict(crop_pct=1.5), 'crop_pct'),
])
def test_eval_errors(change: dict[str, object], says: str) -> None:
    arguments: dict[str, object] = dict(input_size=8, mean=MEAN, std=STD, interpolation='bicubic', crop_pct=0.9)
    with pytest.raises(UserError, match=says):
        eval_transform(**{**arguments, **change})  # type: ignore[arg-type]


def test_train_without_variation_is_a_resize() -> None:
    image = picture(40, 40)
    result = train_transform(16, MEAN, STD, 'bicubic', STILL)(image)
    torch.testing.assert_close(result, normalised(image.resize((16, 16), Image.Resampling.BICUBIC)))


def test_train_flip() -> None:
    image = picture(40, 40)
    plain = train_transform(16, MEAN, STD, 'bicubic', STILL)(image)
    for style in ('resized_crop', 'resize_crop'):
        flipped = train_transform(14, MEAN, STD, 'bicubic', replace(STILL, hflip=1.0, style=style))
        torch.manual_seed(0)
        once = flipped(image)
        torch.manual_seed(0)
        straight = train_transform(14, MEAN, STD, 'bicubic', replace(STILL, style=style))(image)
        torch.testing.assert_close(once, straight.flip(2))
    assert not torch.equal(plain, plain.flip(2))


def test_resized_crop_keeps_to_its_scale() -> None:
    """On a ramp from black to white, a cut of a quarter of the area and ratio 1 spans half the levels."""
    ramp = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, 0).repeat(3, 2))
    cut = train_transform(64, MEAN, STD, 'bilinear', replace(STILL, scale=(0.25, 0.25)))
    offsets = set()
    for _ in range(10):
        seen = inverse_normalize(cut(ramp), MEAN, STD)[0, :, 0].astype(int)
        assert abs(seen[-1] - seen[0] - 126) <= 2  # 128 levels less a pixel of 2 levels
        offsets.add(seen[0])
    assert len(offsets) > 1


def test_resize_crop_is_a_cut_of_the_squashed_picture() -> None:
    image = picture(50, 30)
    augmentation = Augmentation(style='resize_crop', color_jitter=0.0)
    transform = train_transform(14, MEAN, STD, 'bicubic', augmentation)
    squashed = normalised(image.resize((16, 16), Image.Resampling.BICUBIC))  # floor(14 / 0.875) = 16
    cuts = [squashed[:, y:y + 14, x:x + 14] for y in range(3) for x in range(3)]
    choices = cuts + [cut.flip(2) for cut in cuts]
    met = set()
    for _ in range(40):
        result = transform(image)
        matches = [number for number, choice in enumerate(choices) if torch.allclose(result, choice, atol=1e-6)]
        assert len(matches) == 1
        met.update(matches)
    assert len(met) > 6


def smooth(width: int, height: int) -> Image.Image:
    """Brightness rises from left to right and from top to bottom."""
    ramp = np.add.outer(np.linspace(0, 127, height), np.linspace(0, 127, width)).round().astype(np.uint8)
    return Image.fromarray(ramp[:, :, None].repeat(3, 2))


@pytest.mark.parametrize('crop_mode', ['squash', 'border'])
@pytest.mark.parametrize('size', [(90, 40), (40, 90)])
def test_a_crop_of_everything_is_what_prediction_sees(crop_mode: str, size: tuple[int, int]) -> None:
    image = smooth(*size)
    trained = train_transform(32, MEAN, STD, 'bilinear', STILL, crop_mode)(image)
    predicted = eval_transform(32, MEAN, STD, 'bilinear', 1.0, crop_mode)(image)
    inside = (slice(None), slice(12, 20), slice(12, 20))  # the pads' edge may be a pixel off
    torch.testing.assert_close(trained[inside], predicted[inside], rtol=0, atol=0.1)
    if crop_mode == 'border':
        corner = inverse_normalize(trained, MEAN, STD)[0, 0]
        np.testing.assert_array_equal(corner, [round(255 * value) for value in MEAN])


def test_crops_of_a_squashed_picture_have_its_shape() -> None:
    """A circle of a picture twice as wide as high is an ellipse twice as high as wide, in training as in prediction."""
    image = Image.new('RGB', (200, 100))
    ImageDraw.Draw(image).ellipse([80, 30, 120, 70], fill='white')
    for crop_mode, ratio in (('squash', 2), ('border', 1)):
        seen = train_transform(96, (0, 0, 0), (1, 1, 1), 'bilinear', STILL, crop_mode)(image)[0] > 0.5
        rows, columns = seen.any(1).sum().item(), seen.any(0).sum().item()
        assert rows / columns == pytest.approx(ratio, abs=0.15)


def test_a_square_of_a_long_picture_is_bounded() -> None:
    for crop_mode in ('squash', 'border'):
        assert train_transform(16, MEAN, STD, 'bilinear', STILL, crop_mode).transforms[0](Image.new('RGB', (3000, 100))).size == (32, 32)


def test_pads_have_the_given_colour() -> None:
    seen = eval_transform(20, (0, 0, 0), (1, 1, 1), 'bilinear', 1.0, 'border', (10, 20, 30))(Image.new('RGB', (40, 20), 'white'))
    np.testing.assert_array_equal(inverse_normalize(seen, (0, 0, 0), (1, 1, 1))[0, 0], [10, 20, 30])


def test_an_unknown_crop_mode_of_training() -> None:
    with pytest.raises(UserError, match="'squash'"):
        train_transform(16, MEAN, STD, 'bilinear', STILL, 'squish')


def test_three_color_jitters_are_brightness_contrast_and_saturation() -> None:
    pipeline = train_transform(16, MEAN, STD, 'bicubic', replace(STILL, color_jitter=(0.125, 0, 0.5)))
    jitter, = (step for step in pipeline.transforms if isinstance(step, transforms.ColorJitter))
    assert jitter.brightness == (0.875, 1.125)
    assert jitter.contrast is None and jitter.hue is None
    assert jitter.saturation == (0.5, 1.5)


def test_color_jitter_and_erasing_change_the_picture() -> None:
    image = Image.new('RGB', (32, 32), (200, 100, 50))
    still = train_transform(16, MEAN, STD, 'bicubic', STILL)(image)
    jitter = train_transform(16, MEAN, STD, 'bicubic', replace(STILL, color_jitter=0.4))(image)
    assert not torch.allclose(still, jitter, atol=1e-3)
    erased = train_transform(16, MEAN, STD, 'bicubic', replace(STILL, random_erasing=1.0))(image)
    same = (erased == still).all(0)
    assert same.any() and (erased[:, ~same] == 0).all() and (~same).any()  # zero is the mean


def test_auto_augment() -> None:
    image = picture(32, 32)
    transform = train_transform(16, MEAN, STD, 'bicubic', replace(STILL, auto_augment='rand-m9-n2'))
    random.seed(0)
    np.random.seed(0)
    results = [transform(image) for _ in range(5)]
    assert all(result.shape == (3, 16, 16) for result in results)
    assert len({float(result.sum()) for result in results}) > 1


@pytest.mark.parametrize('policy', ['nonsense', 'rand-x9'])
def test_unknown_auto_augment(policy: str) -> None:
    with pytest.raises(UserError, match=policy):
        train_transform(16, MEAN, STD, 'bicubic', Augmentation(auto_augment=policy))


def test_unknown_interpolation() -> None:
    with pytest.raises(UserError, match="'bicubic'"):
        train_transform(16, MEAN, STD, 'bicubicc', Augmentation())


@pytest.mark.parametrize('change', [
    dict(scale=(0.0, 1.0)), dict(scale=(0.9, 0.2)), dict(scale=(0.5, 1.5)), dict(scale=(0.5,)), dict(ratio=(0.0, 1.0)),
    dict(ratio=(2.0, 1.0)), dict(hflip=1.1), dict(hflip=-0.1), dict(random_erasing=2.0), dict(color_jitter=-0.1),
    dict(color_jitter=(0.1, 0.2)), dict(color_jitter=(0.1, 0.2, -0.3)),
    dict(style='resizedcrop'),
])
def test_augmentation_is_checked(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(change))):
        Augmentation(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize('style', ['resized_crop', 'resize_crop'])
def test_transforms_go_to_workers(style: str) -> None:
    pickle.loads(pickle.dumps(train_transform(16, MEAN, STD, 'bicubic', Augmentation(style=style))))
    pickle.loads(pickle.dumps(eval_transform(16, MEAN, STD, 'bicubic', 0.9)))


def test_inverse_normalize_restores_the_pixels() -> None:
    image = picture(20, 12)
    result = inverse_normalize(normalised(image), MEAN, STD)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.asarray(image))


def test_inverse_normalize_clips() -> None:
    extreme = torch.tensor([-100.0, 100.0]).view(1, 1, 2).expand(3, 1, 2)
    assert inverse_normalize(extreme, MEAN, STD).tolist() == [[[0] * 3, [255] * 3]]
