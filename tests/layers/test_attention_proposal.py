"""Squares, their soft masks and crops against loops written from the formula, and their gradients against differences."""

import math

import pytest
import torch
from timm.models import is_notrace_function
from torch import nn

from fgvc_zoo.layers import (
    AttentionProposal,
    attended_crop,
    bound_squares,
    box_mask,
    crop_boxes,
    extent_squares,
    joint_descriptor,
    nested_squares,
    paste_maps,
    peak_squares,
    response_map,
    square_boxes,
)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def smooth_images(batch=2, height=24, width=32):
    """Waves, so that neighbouring pixels differ and the derivative is large."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing='ij')
    waves = [torch.sin(3 * x + index) + torch.cos(4 * y * (1 + index)) + x * y for index in range(batch * 3)]
    return torch.stack(waves).view(batch, 3, height, width).double()


SQUARES = torch.tensor([[0.43, 0.58, 0.271], [0.612, 0.37, 0.203]], dtype=torch.float64)


def naive_crop(images, squares, height, width, steepness):
    """Pixel by pixel: sample the image bilinearly at the pixel's place in the square and multiply by the mask there."""
    batch, channels, rows, columns = images.shape
    result = torch.zeros(batch, channels, height, width, dtype=images.dtype)
    for b in range(batch):
        cx, cy, half = squares[b].tolist()
        for i in range(height):
            for j in range(width):
                x = cx - half + 2 * half * (j + 0.5) / width
                y = cy - half + 2 * half * (i + 0.5) / height
                mask = 1.0
                for position, center in ((x, cx), (y, cy)):
                    mask *= sigmoid(steepness * (position - (center - half))) - sigmoid(steepness * (position - (center + half)))
                px, py = min(max(x * columns - 0.5, 0), columns - 1), min(max(y * rows - 0.5, 0), rows - 1)
                left, top = min(int(px), columns - 2), min(int(py), rows - 2)
                u, v = px - left, py - top
                for c in range(channels):
                    value = sum(
                        wx * wy * images[b, c, top + dy, left + dx].item()
                        for dx, wx in ((0, 1 - u), (1, u)) for dy, wy in ((0, 1 - v), (1, v)))
                    result[b, c, i, j] = mask * value
    return result


@pytest.mark.parametrize('steepness', [10.0, 60.0])
def test_crop_follows_the_formula(steepness):
    images = smooth_images()
    torch.testing.assert_close(
        attended_crop(images, SQUARES, 9, 12, steepness), naive_crop(images, SQUARES, 9, 12, steepness), rtol=1e-9, atol=1e-12)


def test_whole_image_cut_hard_is_the_image():
    images = torch.randn(2, 3, 10, 14)
    whole = torch.full((2, 3), 0.5)
    torch.testing.assert_close(attended_crop(images, whole, 10, 14, 1e6), images)
    mask = attended_crop(torch.ones_like(images), whole, 10, 14, 10.0)
    torch.testing.assert_close(attended_crop(images, whole, 10, 14, 10.0), images * mask)


def test_without_options_the_mask_is_ten_times_as_steep_as_the_image_is_wide():
    images = smooth_images()
    assert torch.equal(attended_crop(images, SQUARES, 9, 12), attended_crop(images, SQUARES, 9, 12, 10.0))


@pytest.mark.parametrize('parameter', [0, 1, 2])
def test_gradient_of_each_parameter_is_the_difference_quotient(parameter):
    images, step = smooth_images(), 1e-6
    weights = torch.randn(2, 3, 9, 12, dtype=torch.float64)

    def loss(squares):
        return (attended_crop(images, squares, 9, 12, 10.0, mask_gradient_only=False) * weights).sum()

    squares = SQUARES.clone().requires_grad_()
    loss(squares).backward()
    for b in range(2):
        moved = torch.zeros_like(SQUARES)
        moved[b, parameter] = step
        expected = (loss(SQUARES + moved) - loss(SQUARES - moved)).item() / (2 * step)
        assert abs(expected) > 0.1
        assert squares.grad[b, parameter].item() == pytest.approx(expected, rel=1e-5)


def test_gradcheck_with_parents():
    images = smooth_images(height=6, width=8)[:, :1]
    parents = torch.tensor([[0.5, 0.45, 0.41], [0.47, 0.6, 0.33]], dtype=torch.float64, requires_grad=True)
    squares = SQUARES.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s, p, x: attended_crop(x, s, 5, 6, 10.0, p, False), (squares, parents, images.requires_grad_()), atol=1e-5)


def test_mask_gradient_is_that_of_a_mask_which_moves_over_held_samples():
    images, step = smooth_images(), 1e-6
    weights = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    held = crop_boxes(images, square_boxes(SQUARES), 9, 12)
    unit_x, unit_y = (torch.arange(12).double() + 0.5) / 12, (torch.arange(9).double() + 0.5) / 9

    def loss(squares):
        total = 0.0
        for b in range(2):
            cx, cy, half = SQUARES[b]
            x, y = cx - half + 2 * half * unit_x, cy - half + 2 * half * unit_y
            tx, ty, tl = squares[b]
            mask_x = torch.sigmoid(10 * (x - tx + tl)) - torch.sigmoid(10 * (x - tx - tl))
            mask_y = torch.sigmoid(10 * (y - ty + tl)) - torch.sigmoid(10 * (y - ty - tl))
            total = total + (held[b] * weights[b] * mask_y[:, None] * mask_x).sum()
        return total

    squares = SQUARES.clone().requires_grad_()
    result = attended_crop(images, squares, 9, 12, 10.0)
    torch.testing.assert_close(result, attended_crop(images, SQUARES, 9, 12, 10.0))  # the values are the same
    (result * weights).sum().backward()
    for b in range(2):
        for parameter in range(3):
            moved = torch.zeros_like(SQUARES)
            moved[b, parameter] = step
            expected = ((loss(SQUARES + moved) - loss(SQUARES - moved)) / (2 * step)).item()
            assert squares.grad[b, parameter].item() == pytest.approx(expected, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize('mask_gradient_only', [False, True])
def test_mask_that_only_guides_leaves_the_values_and_keeps_its_gradient(mask_gradient_only):
    """By the product rule, d(crop * mask) = mask * d(crop) + crop * d(mask); where the mask is left out of the values, its factor is 1."""
    images, weights = smooth_images(), torch.randn(2, 3, 9, 12, dtype=torch.float64)
    squares = SQUARES.clone().requires_grad_()
    guided = attended_crop(images, squares, 9, 12, 10.0, mask_gradient_only=mask_gradient_only, masked=False)
    crop = crop_boxes(images, square_boxes(squares), 9, 12)
    assert torch.equal(guided, crop)
    mask = attended_crop(torch.ones_like(images), squares, 9, 12, 10.0, mask_gradient_only=mask_gradient_only)
    moved = 0 if mask_gradient_only else crop
    computed, = torch.autograd.grad((guided * weights).sum(), squares)
    expected, = torch.autograd.grad(((moved + crop.detach() * mask) * weights).sum(), squares)
    torch.testing.assert_close(computed, expected)
    assert computed.abs().min() > 1e-3


@pytest.mark.parametrize('mask_gradient_only', [False, True])
def test_constant_image_pulls_to_no_side_but_grows_the_square(mask_gradient_only):
    squares = SQUARES.clone().requires_grad_()
    images = torch.ones(2, 1, 16, 16, dtype=torch.float64)
    attended_crop(images, squares, 8, 8, 10.0, mask_gradient_only=mask_gradient_only).sum().backward()
    torch.testing.assert_close(squares.grad[:, :2], torch.zeros(2, 2, dtype=torch.float64), rtol=0, atol=1e-9)
    assert (squares.grad[:, 2] > 0.1).all()


def test_brightness_pulls_the_square():
    """An image that is brighter to the right and upwards: more brightness, so moving there."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 32), torch.linspace(0, 1, 32), indexing='ij')
    images = (2 * x - y)[None, None].double()
    for mask_gradient_only in (False, True):
        square = torch.tensor([[0.5, 0.5, 0.25]], dtype=torch.float64, requires_grad=True)
        attended_crop(images, square, 16, 16, 10.0, mask_gradient_only=mask_gradient_only).sum().backward()
        assert square.grad[0, 0] > 1 and square.grad[0, 1] < -0.5


def test_crop_inside_a_parent_is_a_crop_of_its_crop():
    """On an image that is linear, enlarging twice loses nothing, so both ways agree; the mask is that of the child alone."""
    y, x = torch.meshgrid((torch.arange(40) + 0.5) / 40, (torch.arange(40) + 0.5) / 40, indexing='ij')
    images = torch.stack([x, y])[None].double().expand(2, -1, -1, -1)
    parents = torch.tensor([[0.4, 0.55, 0.3], [0.6, 0.5, 0.35]], dtype=torch.float64)
    children = torch.tensor([[0.5, 0.45, 0.3], [0.4, 0.6, 0.2]], dtype=torch.float64)
    between = attended_crop(images, parents, 40, 40, 1e6)
    twice = attended_crop(between, children, 11, 11, 10.0)
    torch.testing.assert_close(attended_crop(images, children, 11, 11, 10.0, parents), twice)
    ones = torch.ones_like(images)
    torch.testing.assert_close(attended_crop(ones, children, 11, 11, 10.0, parents), attended_crop(ones, children, 11, 11, 10.0))


def test_nested_square_by_its_corners():
    parents, children = torch.rand(6, 3), torch.rand(6, 3)
    computed = square_boxes(nested_squares(parents, children))
    for b in range(6):
        px, py, pl = parents[b].tolist()
        cx, cy, cl = children[b].tolist()
        expected = [
            px - pl + 2 * pl * (cx - cl), py - pl + 2 * pl * (cy - cl), px - pl + 2 * pl * (cx + cl), py - pl + 2 * pl * (cy + cl)]
        torch.testing.assert_close(computed[b], torch.tensor(expected))


def test_box_mask_follows_the_formula():
    squares, positions = torch.tensor([[0.4, 0.2], [0.5, 0.5]]), torch.tensor([[0.0, 0.2, 0.4, 0.9], [0.0, 0.5, 0.7, 1.0]])
    computed = box_mask(squares, positions, 10.0)
    for b in range(2):
        center, half = squares[b].tolist()
        for n in range(4):
            x = positions[b, n].item()
            expected = sigmoid(10 * (x - (center - half))) - sigmoid(10 * (x - (center + half)))
            assert computed[b, n].item() == pytest.approx(expected, abs=1e-6)


def test_squares_stay_inside_and_keep_a_third_of_the_side():
    extremes = torch.cartesian_prod(*[torch.tensor([-1e4, -20.0, -1.0, 0.0, 1.0, 20.0, 1e4])] * 3)
    for raw in (extremes, torch.randn(1000, 3) * 5):
        squares = bound_squares(raw)
        boxes = square_boxes(squares)
        assert (boxes >= -1e-6).all() and (boxes <= 1 + 1e-6).all()
        assert (squares[:, 2] >= 1 / 6 - 1e-6).all() and (squares[:, 2] <= 1 / 2 + 1e-6).all()
    torch.testing.assert_close(bound_squares(torch.zeros(1, 3)), torch.tensor([[1 / 2, 1 / 2, 1 / 3]]))
    corner = bound_squares(torch.tensor([[-1e4, 1e4, -1e4]]))
    torch.testing.assert_close(corner, torch.tensor([[1 / 6, 5 / 6, 1 / 6]]))


def test_bounds_are_smooth():
    raw = (3 * torch.randn(4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(bound_squares, (raw,))
    assert bound_squares(torch.zeros(1, 3, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize('size', [(7, 7), (2, 3), (14, 28)])
@pytest.mark.parametrize('channels', [0, 4])
def test_proposals_begin_in_the_middle_and_learn(size, channels):
    proposal = AttentionProposal(6, grid=7, channels=channels, width=16)
    features = torch.rand(5, 6, *size)
    squares = proposal(features)
    torch.testing.assert_close(squares, torch.tensor([[1 / 2, 1 / 2, 1 / 3]]).expand(5, -1), rtol=0, atol=2e-3)
    squares.square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in proposal.parameters())
    assert not proposal.hidden.bias.any() and not proposal.out.bias.any()


def test_without_options_the_network_is_the_narrow_one():
    proposal = AttentionProposal(6)
    assert proposal.reduce.weight.shape == (64, 6, 1, 1) and proposal.hidden.weight.shape == (256, 64 * 7 * 7)
    assert proposal.out.weight.shape == (3, 256)


def test_fully_connected_layers_begin_with_a_thousandth():
    proposal = AttentionProposal(64, grid=7, channels=0, width=256)
    assert proposal.hidden.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert proposal.out.weight.std().item() == pytest.approx(0.001, rel=0.2)


def test_a_grid_as_large_as_the_map_sees_every_cell():
    proposal = AttentionProposal(2, grid=3, channels=0, width=4)
    nn.init.normal_(proposal.hidden.weight)
    nn.init.normal_(proposal.out.weight)
    features = torch.randn(1, 2, 3, 3)
    hidden = torch.tanh(proposal.hidden.weight @ features.flatten() + proposal.hidden.bias)
    torch.testing.assert_close(proposal(features), bound_squares((proposal.out.weight @ hidden + proposal.out.bias)[None]))


def test_peak_square_holds_the_strongest_cell_and_is_inside():
    features = torch.zeros(2, 2, 4, 8)
    features[0, 0, 0, 7] = -3.0  # a corner; magnitudes count
    features[1, :, 3, 0] = 1.0
    torch.testing.assert_close(peak_squares(features, 0.125), torch.tensor([[0.875, 0.125, 0.125], [0.125, 0.875, 0.125]]))
    torch.testing.assert_close(response_map(features)[0, 0, 7], torch.tensor(1.5))


@pytest.mark.parametrize('half', [0.02, 0.1, 0.25, 0.3, 0.5])
def test_peak_square_by_trying_all(half):
    """Every square that begins at a quarter of a cell, one by one: the mean response in it."""
    features = torch.randn(5, 3, 3, 4)
    computed = peak_squares(features, half)
    for b in range(5):
        response, best, where = features[b].abs().mean(0), -1.0, None
        rows, columns = max(round(2 * half * 12), 1), max(round(2 * half * 16), 1)
        for top in range(12 - rows + 1):
            for left in range(16 - columns + 1):
                total = 0.0
                for row in range(top, top + rows):
                    for column in range(left, left + columns):
                        total += response[row // 4, column // 4].item()
                if total > best + 1e-5:
                    best, where = total, ((left + columns / 2) / 16, (top + rows / 2) / 12)
        expected = [min(max(value, half), 1 - half) for value in where] + [half]
        assert computed[b].tolist() == pytest.approx(expected, abs=1e-5)


def test_pasted_map_comes_back_when_it_is_cut_out():
    maps = torch.rand(2, 4, 4)
    squares = torch.tensor([[0.5, 0.25, 0.25], [0.625, 0.625, 0.125]])
    whole = paste_maps(maps, squares, 32, 32)
    for b, (left, top, side) in enumerate([(8, 0, 16), (16, 16, 8)]):
        region = whole[b, top:top + side, left:left + side]
        enlarged = nn.functional.interpolate(maps[b][None, None], (side, side), mode='bilinear', align_corners=False)[0, 0]
        inner = slice(side // 8, -side // 8)  # the outermost half cell fades out
        torch.testing.assert_close(region[inner, inner], enlarged[inner, inner])
        outside = whole[b].clone()
        outside[max(top - 2, 0):top + side + 2, left - 2:left + side + 2] = 0
        assert not outside.any()
    torch.testing.assert_close(paste_maps(maps, torch.full((2, 3), 0.5), 4, 4), maps)


def test_extent_squares_are_as_large_as_the_response():
    """By hand: the enlarged map is 4 times as fine, and a step of the response falls below 0.3 of it within 5/8 of a cell or so."""
    features = torch.zeros(3, 2, 16, 16)
    features[0, :, 4:12, 6:10] = -1  # eight cells high, four wide, signed: magnitudes count
    features[1, :, 0:2, 14:16] = 1  # in a corner: moved inside, and not smaller than a sixth
    features[2] = 1
    squares = extent_squares(features)
    torch.testing.assert_close(squares[0], torch.tensor([0.5, 0.5, 0.25]), atol=0.02, rtol=0)
    torch.testing.assert_close(squares[1], torch.tensor([5 / 6, 1 / 6, 1 / 6]))
    torch.testing.assert_close(squares[2], torch.tensor([0.5, 0.5, 0.5]))


@pytest.mark.parametrize('size', [(6, 14), (14, 6)])
def test_extent_squares_of_maps_that_are_not_square(size):
    """From the pixels of a map enlarged by interpolation."""
    features = torch.zeros(4, 3, *size)
    for b, (row, column) in enumerate(((0, 2), (1, 0), (3, 3), (4, 1))):
        features[b, :, row:row + 2, column:column + 2 + b % 2] = 0.5 + torch.rand(3, 1, 1)
    squares = extent_squares(features)
    response = features.mean(1, keepdim=True)
    height, width = 4 * size[0], 4 * size[1]
    enlarged = nn.functional.interpolate(response, (height, width), mode='bilinear', align_corners=False)[:, 0]
    for b in range(4):
        rows, columns = (enlarged[b] >= 0.3 * enlarged[b].max()).nonzero().unbind(1)
        left, right = columns.min().item() / width, (columns.max().item() + 1) / width
        top, bottom = rows.min().item() / height, (rows.max().item() + 1) / height
        half = min(max(right - left, bottom - top, 1 / 3), 1) / 2
        center = [min(max((low + high) / 2, half), 1 - half) for low, high in ((left, right), (top, bottom))]
        assert squares[b].tolist() == pytest.approx([*center, half], abs=1e-5)


def test_squares_without_options_are_those_of_the_papers_phases():
    features = torch.rand(3, 2, 8, 8) ** 6
    torch.testing.assert_close(peak_squares(features), peak_squares(features, 0.25))
    torch.testing.assert_close(extent_squares(features), extent_squares(features, 0.3))


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_joint_descriptors_keep_the_dtype_and_normalise_in_float32_at_least(dtype):
    descriptors = [(100 * torch.rand(3, 40, dtype=torch.float64)).to(dtype) for _ in range(2)]
    joint = joint_descriptor(descriptors)
    exact = torch.cat([10 * nn.functional.normalize(descriptor.double(), dim=1) for descriptor in descriptors], 1)
    assert joint.dtype == dtype
    # float64 loses nothing, and bfloat16 is rounded once
    tolerance = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2 ** -8}[dtype]
    torch.testing.assert_close(joint.double(), exact, rtol=tolerance, atol=0)


@pytest.mark.parametrize('function', [attended_crop, bound_squares, joint_descriptor, paste_maps, response_map])
def test_symbolic_tracing_takes_it_as_one_operation(function):
    assert is_notrace_function(function)


def test_joint_descriptors_have_one_length_each():
    """Each image's descriptor of each scale is normalised by itself."""
    descriptors = [torch.rand(3, 4) * torch.tensor([[1.0], [10], [100]]) for _ in range(2)]
    joint = joint_descriptor(descriptors)
    for scale, descriptor in enumerate(descriptors):
        for image in range(3):
            expected = 10 * descriptor[image] / math.sqrt(sum(value**2 for value in descriptor[image].tolist()))
            torch.testing.assert_close(joint[image, 4 * scale:4 * scale + 4], expected)
