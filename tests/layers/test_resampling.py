"""Separable resampling against torch's grid sampling and loops over pixels."""

import math

import pytest
import torch
from timm.models import is_notrace_function
from torch import nn
from torch.nn import functional as F

from fgvc_zoo.layers import crop_boxes
from fgvc_zoo.layers.resampling import blend_rows, enlarge_columns, enlarge_rows, neighbours

# inside, the whole image, beyond every border, one pixel wide, empty
BOXES = torch.tensor([
    [0.11, 0.23, 0.71, 0.93], [0.0, 0.0, 1.0, 1.0], [-0.2, 0.1, 1.3, 1.2], [0.5, 0.0, 0.55, 1.0], [0.4, 0.6, 0.4, 0.6]], dtype=torch.double)
SIZES = [(7, 9, 7, 9), (12, 20, 24, 5), (20, 12, 5, 24), (1, 5, 3, 3), (5, 1, 2, 2), (1, 1, 4, 4)]


def grid_sampled(images, boxes, height, width):
    """The same crops by sampling at every pixel of a grid."""
    scale, center = boxes[:, 2:] - boxes[:, :2], boxes[:, 2:] + boxes[:, :2] - 1
    theta = torch.cat([torch.diag_embed(scale), center[:, :, None]], 2)
    grid = F.affine_grid(theta, [len(images), images.shape[1], height, width], align_corners=False)
    return F.grid_sample(images, grid, mode='bilinear', padding_mode='border', align_corners=False)


def naive_crop(image, box, height, width):
    """One pixel of one plane at a time, with Python's numbers."""
    rows, columns = image.shape
    result = torch.zeros(height, width, dtype=image.dtype)

    def position(low, high, index, count, size):
        place = min(max((low + (index + 0.5) / count * (high - low)) * size - 0.5, 0), size - 1)
        return math.floor(place), min(math.floor(place) + 1, size - 1), place - math.floor(place)

    left, top, right, bottom = box.tolist()
    for i in range(height):
        y, below, down = position(top, bottom, i, height, rows)
        for j in range(width):
            x, beside, across = position(left, right, j, width, columns)
            result[i, j] = ((1 - down) * ((1 - across) * image[y, x] + across * image[y, beside])
                            + down * ((1 - across) * image[below, x] + across * image[below, beside]))
    return result


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_crops_equal_grid_sampling_and_the_loops(size, dtype, tolerance):
    rows, columns, height, width = size
    images = torch.rand(len(BOXES), 3, rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    crops = crop_boxes(images.to(dtype), BOXES.to(dtype), height, width)
    assert crops.dtype == dtype and crops.shape == (len(BOXES), 3, height, width)
    torch.testing.assert_close(crops.double(), grid_sampled(images, BOXES, height, width), rtol=0, atol=tolerance)
    for index, box in enumerate(BOXES):
        expected = naive_crop(images[index, 1], box, height, width)
        torch.testing.assert_close(crops[index, 1].double(), expected, rtol=0, atol=tolerance)


def test_errors_at_448_pixels_are_those_of_the_coordinates():
    """A position of 448 pixels is exact to 3e-5 in float32. Grid sampling is no closer to the result in float64."""
    images = torch.rand(len(BOXES), 2, 448, 448, dtype=torch.double)
    boxes = BOXES.float()
    exact = grid_sampled(images, boxes.double(), 448, 448)
    ours = (crop_boxes(images.float(), boxes, 448, 448) - exact).abs().max()
    usual = (grid_sampled(images.float(), boxes, 448, 448) - exact).abs().max()
    assert ours < 1e-4 and ours < 1.5 * usual


@pytest.mark.parametrize('size', [7, 224, 448])
def test_the_whole_image_at_its_own_size_is_exactly_the_image(size):
    images = torch.randn(2, 3, size, size + 1)
    assert torch.equal(crop_boxes(images, torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2), size, size + 1), images)


def test_gradients_of_images_and_boxes():
    images = torch.randn(2, 2, 5, 6, dtype=torch.double, requires_grad=True)
    boxes = BOXES[[0, 2]].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda *inputs: crop_boxes(*inputs, 4, 3), (images, boxes))
    weight = torch.randn(2, 2, 4, 3, dtype=torch.double)
    ours = torch.autograd.grad((weight * crop_boxes(images, boxes, 4, 3)).sum(), (images, boxes))
    usual = torch.autograd.grad((weight * grid_sampled(images, boxes, 4, 3)).sum(), (images, boxes))
    for first, second in zip(ours, usual, strict=True):
        torch.testing.assert_close(first, second)


def test_channels_last_and_slices_and_empty_batches():
    images = torch.randn(len(BOXES), 4, 8, 6)
    expected = crop_boxes(images[:, 1:], BOXES.float(), 5, 7)
    torch.testing.assert_close(crop_boxes(images.to(memory_format=torch.channels_last)[:, 1:], BOXES.float(), 5, 7), expected)
    assert crop_boxes(images[:0], BOXES[:0].float(), 5, 7).shape == (0, 4, 5, 7)


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_a_broken_box_breaks_its_own_crop_only(value):
    images = torch.rand(2, 1, 4, 4)
    crops = crop_boxes(images, torch.tensor([[value, value, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]), 4, 4)
    assert torch.equal(crops[1], images[1])
    assert crops[0].isnan().all()


def test_neighbours_of_positions_inside_and_outside():
    first, second, weight = neighbours(torch.tensor([-3.0, 0.0, 1.25, 3.0, 9.0, math.nan]), 4)
    assert first.tolist() == [0, 0, 1, 3, 3, 0] and second.tolist() == [1, 1, 2, 3, 3, 1]
    assert weight[:5].tolist() == [0, 0, 0.25, 0, 0] and weight[5].isnan()


class _Blend(nn.Module):
    def forward(self, table, first, second, weight):
        return blend_rows(table, first, second, weight)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_blended_rows_equal_the_formula_and_the_exported_path(dtype):
    table, weight = torch.randn(9, 70, dtype=dtype), torch.rand(5, dtype=dtype)
    first, second = torch.tensor([0, 8, 3, 3, 2]), torch.tensor([1, 8, 4, 0, 7])
    inputs = table, first, second, weight
    expected = torch.stack([(1 - w) * table[a] + w * table[b] for a, b, w in zip(first, second, weight, strict=True)])
    torch.testing.assert_close(blend_rows(*inputs), expected)
    torch.testing.assert_close(torch.export.export(_Blend(), inputs).module()(*inputs), expected)
    torch.testing.assert_close(torch.jit.script(_Blend())(*inputs), expected)
    traced = torch.jit.trace(_Blend(), inputs)
    torch.testing.assert_close(traced(*inputs), expected)
    assert 'index_select' in str(traced.graph) and 'embedding_bag' not in str(traced.graph)


@pytest.mark.parametrize(('cells', 'pixels'), [((3, 5), (18, 40)), ((4, 4), (4, 4)), ((9, 7), (5, 3)), ((1, 6), (7, 30))])
def test_enlarged_rows_and_columns_are_those_of_the_enlarged_map(cells, pixels):
    maps = torch.rand(2, *cells)
    expected = F.interpolate(maps[:, None], pixels, mode='bilinear', align_corners=False)[:, 0]
    rows, columns = torch.tensor([0, 2, pixels[0] - 1]), torch.tensor([1, 1, pixels[1] - 1])
    computed = enlarge_rows(enlarge_columns(maps, columns, pixels[1]), rows, pixels[0])
    torch.testing.assert_close(computed, expected[:, rows][:, :, columns])


def test_crops_export_to_onnx_for_any_batch(tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')

    class Crop(nn.Module):
        def forward(self, images, boxes):
            return crop_boxes(images, boxes, 6, 5)

    inputs = torch.rand(2, 3, 8, 8), BOXES[:2].float()
    batch = torch.export.Dim('batch', min=2, max=16)
    torch.onnx.export(Crop().eval(), inputs, tmp_path / 'crop.onnx', dynamo=True, dynamic_shapes=({0: batch}, {0: batch}), verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / 'crop.onnx')
    images = torch.rand(5, 3, 8, 8)
    feed = dict(zip([item.name for item in session.get_inputs()], (images.numpy(), BOXES.float().numpy()), strict=True))
    torch.testing.assert_close(torch.from_numpy(session.run(None, feed)[0]), crop_boxes(images, BOXES.float(), 6, 5))


def test_symbolic_tracing_takes_a_crop_as_one_operation():
    assert is_notrace_function(crop_boxes)
