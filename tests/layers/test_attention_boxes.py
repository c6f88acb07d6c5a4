"""Boxes, crops and drops against loops over pixels, and every edge that breaks the usual implementations."""

import pytest
import torch
from timm.models import is_notrace_function
from torch import nn
from torch.nn import functional as F

from fgvc_zoo.layers import attention_box, attention_crop, attention_drop, crop_boxes, half_maximum_boxes, object_box, sample_maps


def naive_box(attention, threshold, padding, height, width):
    """Pixel by pixel over one enlarged map."""
    enlarged = F.interpolate(attention[None, None], (height, width), mode='bilinear', align_corners=False)[0, 0]
    level = threshold * enlarged.max().item()
    pixels = [(y, x) for y in range(height) for x in range(width) if enlarged[y, x].item() >= level]
    left, right = min(x for _, x in pixels), max(x for _, x in pixels) + 1
    top, bottom = min(y for y, _ in pixels), max(y for y, _ in pixels) + 1
    return torch.tensor([
        max(left / width - padding, 0.0), max(top / height - padding, 0.0),
        min(right / width + padding, 1.0), min(bottom / height + padding, 1.0)])


def test_boxes_equal_the_loops_on_images_that_are_not_square():
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(4, 3, 5, generator=generator) ** 6
    threshold = torch.tensor([0.1, 0.3, 0.5, 0.9])
    boxes = attention_box(attention, threshold, 0.1, 18, 40)
    for index in range(4):
        torch.testing.assert_close(boxes[index], naive_box(attention[index], threshold[index].item(), 0.1, 18, 40), rtol=0, atol=1e-6)


def enlarged_box(attention, threshold, padding, height, width):
    """The box of one map by way of the whole enlarged map."""
    enlarged = F.interpolate(attention[None, None], (height, width), mode='bilinear', align_corners=False)[0, 0]
    rows, columns = (enlarged >= threshold * enlarged.max()).nonzero().unbind(1)
    box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / torch.tensor([width, height, width, height])
    return (box + padding * torch.tensor([-1, -1, 1, 1])).clamp(0, 1)


@pytest.mark.parametrize('cells', [(14, 14), (7, 9), (26, 13), (1, 6), (28, 28)])
@pytest.mark.parametrize('pixels', [(448, 448), (60, 101), (27, 29), (28, 28), (9, 5)])
def test_boxes_equal_those_of_the_whole_enlarged_map(cells, pixels):
    """Enlarged, kept and reduced maps, flat and peaked ones, random ones: the extents come from a few of the pixels."""
    generator = torch.Generator().manual_seed(0)
    for power in (1, 4, 12):
        attention = torch.rand(16, *cells, generator=generator) ** power
        threshold = 0.05 + 0.9 * torch.rand(16, generator=generator)
        boxes = attention_box(attention, threshold, 0.1, *pixels)
        for index in range(16):
            expected = enlarged_box(attention[index], threshold[index], 0.1, *pixels)
            torch.testing.assert_close(boxes[index], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('pixels', [(448, 300), (28, 28), (9, 5)])
def test_drops_equal_those_of_the_whole_enlarged_map(pixels):
    attention, images = torch.rand(4, 1, 14, 13, generator=torch.Generator().manual_seed(0)) ** 3, torch.ones(4, 2, *pixels)
    enlarged = F.interpolate(attention, pixels, mode='bilinear', align_corners=False)
    share = enlarged / enlarged.amax((2, 3), keepdim=True)
    dropped = attention_drop(images, attention, threshold=(0.3, 0.3))
    differ = dropped != (share < 0.3)
    assert (share.expand_as(differ)[differ] - 0.3).abs().lt(1e-5).all()  # rounding decides pixels on the threshold
    assert 0.1 < dropped.mean() < 0.99


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_drops_keep_the_dtype_and_the_pixels(dtype):
    images, attention = torch.randn(2, 3, 12, 20).to(dtype), torch.rand(2, 1, 3, 5).to(dtype)
    dropped = attention_drop(images, attention, threshold=(0.3, 0.3))
    assert dropped.dtype == dtype
    assert torch.equal(dropped, images * (attention_drop(torch.ones(2, 1, 12, 20), attention, threshold=(0.3, 0.3)) > 0))


def test_one_hot_pixel():
    """The region of one pixel at its own resolution is that pixel; the last row and column count."""
    for y, x in ((0, 0), (2, 5), (3, 7)):
        attention = torch.zeros(1, 4, 8)
        attention[0, y, x] = 1
        box = attention_box(attention, torch.tensor([0.5]), 0.0, 4, 8)
        torch.testing.assert_close(box, torch.tensor([[x / 8, y / 4, (x + 1) / 8, (y + 1) / 4]]))


def test_padding_is_a_fraction_of_each_side_and_stays_inside():
    attention = torch.zeros(1, 10, 20)
    attention[0, 0, 10] = 1
    box = attention_box(attention, torch.tensor([0.5]), 0.1, 10, 20)
    torch.testing.assert_close(box, torch.tensor([[0.4, 0.0, 0.65, 0.2]]))


@pytest.mark.parametrize('value', [0.0, float('nan'), -3.0, 7.0])
def test_maps_without_a_region_give_the_whole_image(value):
    box = attention_box(torch.full((2, 4, 4), value), torch.tensor([0.5, 0.1]), 0.05, 16, 16)
    torch.testing.assert_close(box, torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2))


def test_one_nan_does_not_hide_the_rest():
    attention = torch.zeros(1, 4, 4)
    attention[0, 0, 0], attention[0, 3, 3] = float('nan'), 1.0
    torch.testing.assert_close(
        attention_box(attention, torch.tensor([0.9]), 0.0, 4, 4), torch.tensor([[0.75, 0.75, 1.0, 1.0]]))


@pytest.mark.parametrize('value', [float('inf'), float('-inf'), float('nan')])
def test_what_is_no_number_counts_as_nothing_in_boxes_and_draws(value):
    attention = torch.zeros(1, 4, 4)
    attention[0, 2:, 2:] = 1
    expected = attention_box(attention, torch.tensor([0.5]), 0.0, 8, 8)
    attention[0, 0, 0] = value
    torch.testing.assert_close(attention_box(attention, torch.tensor([0.5]), 0.0, 8, 8), expected)
    maps = torch.full((400, 2, 1, 1), value)
    maps[:, 1] = 0.5  # beside it the other map is never drawn
    assert (sample_maps(maps, torch.Generator().manual_seed(0)) == 0.5).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_with_zero_and_huge_maps(dtype):
    attention = torch.zeros(3, 2, 4, 4, dtype=dtype)
    attention[1] = 6e4
    attention[2, :, 1, 2] = 6e4
    boxes = object_box(attention, 8, 8, 0.9, 0.0)
    assert boxes.dtype == torch.float32
    torch.testing.assert_close(boxes[:2], torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2))
    assert (boxes[2, 2:] - boxes[2, :2] < 1).all()


def test_half_maximum_boxes_are_the_boxes_of_each_map():
    maps = torch.rand(3, 5, 4, 6) ** 4
    boxes = half_maximum_boxes(maps, 12, 30)
    for index in range(5):
        torch.testing.assert_close(boxes[:, index], attention_box(maps[:, index], torch.tensor(0.5), 0.0, 12, 30))


def test_object_box_is_the_box_of_the_mean():
    attention = torch.rand(3, 5, 4, 6) ** 4
    expected = attention_box(attention.mean(1), torch.full((3,), 0.2), 0.05, 12, 30)
    torch.testing.assert_close(object_box(attention, 12, 30, 0.2, 0.05), expected)


def test_object_box_without_options_has_the_threshold_and_the_margin_of_inference():
    attention = torch.zeros(3, 5, 8, 12)
    attention[:, :, 3:5, 4:7] = torch.rand(3, 5, 2, 3)  # away from the edges, so that the margin shows
    attention[:, :, 2, 9] = 0.5  # another region, which belongs to the box as well
    mean = attention.mean(1)
    expected = torch.stack([enlarged_box(mean[index], 0.1, 0.05, 32, 60) for index in range(3)])
    torch.testing.assert_close(object_box(attention, 32, 60), expected)
    assert (expected > 0).all() and (expected < 1).all()


@pytest.mark.parametrize('connected', [False, True])
def test_no_images_have_no_boxes(connected):
    assert object_box(torch.zeros(0, 5, 4, 6), 12, 30, connected=connected).shape == (0, 4)


def test_whole_box_is_the_identity():
    images = torch.randn(2, 3, 7, 9)
    torch.testing.assert_close(crop_boxes(images, torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2), 7, 9), images, rtol=0, atol=1e-5)


def test_crop_on_pixel_borders_equals_slicing():
    images = torch.randn(2, 3, 8, 16)
    crops = crop_boxes(images, torch.tensor([[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.5]]), 4, 8)
    torch.testing.assert_close(crops[0], images[0, :, 4:8, 4:12], rtol=0, atol=1e-5)
    torch.testing.assert_close(crops[1], images[1, :, 0:4, 0:8], rtol=0, atol=1e-5)


def test_crop_equals_slicing_and_resizing():
    """A region cut out by slices and enlarged, away from its border, where the two see different neighbours."""
    image = torch.randn(1, 1, 12, 12)
    crop = crop_boxes(image, torch.tensor([[0.25, 0.25, 0.75, 0.75]]), 24, 24)
    expected = F.interpolate(image[:, :, 3:9, 3:9], (24, 24), mode='bilinear', align_corners=False)
    torch.testing.assert_close(crop[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=0, atol=1e-5)


def test_crop_gradient():
    images = torch.randn(1, 2, 5, 6, dtype=torch.double, requires_grad=True)
    boxes = torch.tensor([[0.11, 0.23, 0.71, 0.93]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda x: crop_boxes(x, boxes, 4, 3), (images,))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_crop_keeps_half_precision_but_not_its_coordinates(dtype):
    images = torch.linspace(0, 1, 448).expand(1, 1, 4, 448)
    box = torch.tensor([[0.501, 0.0, 0.503, 1.0]])  # in half precision this box would be empty or one cell wide
    crop = crop_boxes(images.to(dtype), box, 4, 8)
    assert crop.dtype == dtype
    torch.testing.assert_close(crop.float(), crop_boxes(images, box, 4, 8), rtol=0, atol=5e-3)


def test_sampling_follows_the_square_root_of_the_mean():
    attention = torch.zeros(4000, 3, 2, 2)
    attention[:, 0], attention[:, 1] = 1.0, 9.0
    drawn = sample_maps(attention, torch.Generator().manual_seed(0))
    share = (drawn[:, 0, 0] == 9.0).float().mean().item()
    assert abs(share - 0.75) < 0.03  # sqrt(9) : sqrt(1) : 0
    assert not (drawn[:, 0, 0] == 0).any()


def test_sampling_survives_dead_maps():
    generator = torch.Generator().manual_seed(0)
    for value in (0.0, float('nan')):
        assert sample_maps(torch.full((5, 4, 2, 2), value), generator).shape == (5, 2, 2)
    # negative values weigh nothing, but show which map was drawn: each of the four equally often
    marks = -torch.arange(1.0, 5.0)[None, :, None, None].expand(4000, 4, 2, 2)
    drawn = sample_maps(marks, generator)[:, 0, 0]
    for mark in (-1.0, -2.0, -3.0, -4.0):
        assert abs((drawn == mark).float().mean().item() - 0.25) < 0.03


@pytest.mark.parametrize('augment', [attention_crop, attention_drop])
def test_augmented_images_have_no_gradient(augment):
    images, attention = torch.randn(2, 3, 8, 8, requires_grad=True), torch.rand(2, 4, 3, 3, requires_grad=True)
    assert not augment(images, attention).requires_grad


def test_same_generator_same_augmentation():
    images, attention = torch.randn(4, 3, 16, 24), torch.rand(4, 5, 4, 6) ** 8
    for augment in (attention_crop, attention_drop):
        first = augment(images, attention, torch.Generator().manual_seed(3))
        again = augment(images, attention, torch.Generator().manual_seed(3))
        other = augment(images, attention, torch.Generator().manual_seed(4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.shape == images.shape


@pytest.mark.parametrize('augment, options', [
    (attention_crop, dict(threshold=(0.4, 0.6), padding=0.1)), (attention_drop, dict(threshold=(0.2, 0.5)))])
def test_without_options_the_ranges_are_the_papers(augment, options):
    images, attention = torch.randn(16, 3, 16, 24), torch.rand(16, 5, 4, 6) ** 8
    plain = augment(images, attention, torch.Generator().manual_seed(3))
    assert torch.equal(plain, augment(images, attention, torch.Generator().manual_seed(3), **options))


@pytest.mark.parametrize('parts', [1, 2, 3])
@pytest.mark.parametrize('augment', [attention_crop, attention_drop, lambda images, *rest, share: sample_maps(*rest, share=share)])
def test_parts_of_a_batch_draw_what_the_whole_batch_draws(augment, parts):
    images, attention = torch.randn(6, 3, 16, 24), torch.rand(6, 5, 4, 6) ** 8
    whole = augment(images, attention, torch.Generator().manual_seed(3), share=(0, 1))
    drawn = [
        augment(some, maps, torch.Generator().manual_seed(3), share=(part, parts))
        for part, (some, maps) in enumerate(zip(images.chunk(parts), attention.chunk(parts), strict=True))]
    torch.testing.assert_close(torch.cat(drawn), whole)


def test_crop_is_the_box_of_the_drawn_map():
    images, attention = torch.randn(2, 3, 12, 20), torch.rand(2, 1, 3, 5) ** 5
    crops = attention_crop(images, attention, threshold=(0.5, 0.5), padding=0.1)
    boxes = torch.stack([naive_box(attention[index, 0], 0.5, 0.1, 12, 20) for index in range(2)])
    torch.testing.assert_close(crops, crop_boxes(images, boxes, 12, 20))


def test_drop_erases_exactly_the_strong_pixels():
    images, attention = torch.randn(2, 3, 12, 20), torch.rand(2, 1, 3, 5)
    dropped = attention_drop(images, attention, threshold=(0.3, 0.3))
    for index in range(2):
        enlarged = F.interpolate(attention[index:index + 1], (12, 20), mode='bilinear', align_corners=False)[0, 0]
        for y in range(12):
            for x in range(20):
                keep = enlarged[y, x] < 0.3 * enlarged.max()
                expected = images[index, :, y, x] if keep else torch.zeros(3)
                assert torch.equal(dropped[index, :, y, x], expected)
    assert (dropped == 0).any()


@pytest.mark.parametrize('value', [0.0, 2.0, float('nan'), -1.0])
def test_drop_never_erases_everything(value):
    images = torch.randn(1, 3, 8, 8)
    assert torch.equal(attention_drop(images, torch.full((1, 2, 4, 4), value)), images)


def test_drop_of_a_map_without_a_positive_value_is_the_image():
    images, attention = torch.randn(1, 3, 8, 8), -torch.arange(16.0).view(1, 1, 4, 4)  # the largest value is 0
    assert torch.equal(attention_drop(images, attention), images)


@pytest.mark.parametrize('value', [0.0, 2.0, float('nan'), -1.0])
def test_crop_of_a_dead_map_is_the_image(value):
    images = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(attention_crop(images, torch.full((1, 2, 4, 4), value)), images, rtol=0, atol=1e-5)


class _Refine(nn.Module):
    def forward(self, images, attention):
        boxes = object_box(attention, images.shape[2], images.shape[3], 0.3, 0.05)
        return crop_boxes(images, boxes, images.shape[2], images.shape[3])


def test_script_and_export_equal_eager():
    images, attention = torch.randn(2, 3, 16, 24), torch.rand(2, 4, 3, 5) ** 4
    expected = _Refine()(images, attention)
    torch.testing.assert_close(torch.jit.script(_Refine())(images, attention), expected)
    batch = torch.export.Dim('batch', min=2, max=16)
    exported = torch.export.export(_Refine(), (images, attention), dynamic_shapes=({0: batch}, {0: batch}))
    torch.testing.assert_close(exported.module()(images.repeat(2, 1, 1, 1), attention.repeat(2, 1, 1, 1)), expected.repeat(2, 1, 1, 1))


@pytest.mark.parametrize('function', [attention_box, object_box])
def test_symbolic_tracing_takes_it_as_one_operation(function):
    assert is_notrace_function(function)


def test_meta_device():
    assert _Refine()(torch.empty(2, 3, 16, 24, device='meta'), torch.empty(2, 4, 3, 5, device='meta')).shape == (2, 3, 16, 24)


def test_values_that_are_no_numbers_count_as_nothing():
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, :, 1, 1] = 1
    broken = maps.clone()
    broken[0, 0, 3, 3] = broken[0, 1, 3, 3] = float('nan')
    for connected in (False, True):
        box = object_box(broken, 64, 64, 0.5, 0.0, connected)
        torch.testing.assert_close(box, object_box(maps, 64, 64, 0.5, 0.0, connected))
        assert box[0, 2] < 0.6 and box[0, 3] < 0.6


@pytest.mark.parametrize('connected', [False, True])
def test_the_box_does_not_depend_on_the_size_of_the_values(connected):
    maps = torch.rand(4, 3, 8, 8) ** 3
    expected = object_box(maps, 64, 64, 0.4, 0.0, connected)
    for scale in (1e-4, 1e4):
        torch.testing.assert_close(object_box(scale * maps, 64, 64, 0.4, 0.0, connected), expected)


def test_the_largest_region_is_the_object_although_a_smaller_one_is_stronger():
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 1:4, 1:4] = 1.0
    maps[0, 0, 6, 6] = 1.5
    left, top, right, bottom = object_box(maps, 64, 64, 0.5, 0.0, True)[0].tolist()
    assert right < 0.6 and bottom < 0.6
    # the same box as without the other region, whose level is as high
    alone = maps.clone()
    alone[0, 0, 6, 6] = 0
    expected = attention_box(alone[:, 0], torch.tensor(0.75), 0.0, 64, 64)[0]
    torch.testing.assert_close(torch.tensor([left, top, right, bottom]), expected)
