"""Every figure against a loop over its definition."""

import pytest
import timm
import torch
from torch import nn
from torchvision.ops import box_iou

from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import Answers, data_name, diagnose, evaluate, method_and_backbone
from fgvc_zoo.loading import eval_transform_for, load_model
from fgvc_zoo.metrics import accuracies, calibration_error, localization, paired_iou, view_box


def test_accuracies_equal_the_loops():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(40, 8, generator=generator), torch.randint(0, 6, (40,), generator=generator)
    first = fifth = 0
    by_class = {}
    for row, target in zip(logits.tolist(), targets.tolist(), strict=True):
        order = sorted(range(8), key=lambda k: -row[k])
        first += order[0] == target
        fifth += target in order[:5]
        by_class.setdefault(target, []).append(order[0] == target)
    found = accuracies(logits, targets)
    assert found['top1'] == pytest.approx(100 * first / 40, abs=1e-3)
    assert found['top5'] == pytest.approx(100 * fifth / 40, abs=1e-3)
    assert found['mean_per_class'] == pytest.approx(
        100 * sum(sum(hits) / len(hits) for hits in by_class.values()) / len(by_class), abs=1e-3)


def test_the_first_of_equal_classes_is_the_predicted_one():
    """In every figure alike."""
    logits = torch.zeros(4, 200)
    logits[1, [7, 9]] = 5
    targets = torch.tensor([0, 7, 9, 0])
    found = accuracies(logits, targets)
    assert found['top1'] == 75 and found['top5'] >= 75
    answers = Answers(dict(combined=logits), targets, None)
    assert answers.predicted.tolist() == [0, 7, 0, 0]


def test_paired_overlap_equals_that_of_all_pairs():
    corners = torch.rand(200, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    first, second = torch.cat([corners.amin(2), corners.amax(2)], 2).unbind(1)
    torch.testing.assert_close(paired_iou(first, second), box_iou(first, second).diagonal())
    assert paired_iou(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [0]


def test_fewer_than_five_classes():
    assert accuracies(torch.eye(3), torch.tensor([0, 1, 0]))['top5'] == 100


def test_calibration_error_equals_the_loops():
    probabilities = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).mul(2).softmax(1)
    targets = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))
    total = 0.0
    for index in range(15):
        low, high = index / 15, (index + 1) / 15
        chosen = [(max(row), row.index(max(row)) == t) for row, t in zip(probabilities.tolist(), targets.tolist(), strict=True)
                  if low < max(row) <= high]
        if chosen:
            total += abs(sum(c for c, _ in chosen) - sum(h for _, h in chosen)) / 200
    assert calibration_error(probabilities, targets) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize(('size', 'mode'), [
    ((100, 60), 'center'), ((60, 100), 'center'), ((80, 80), 'center'), ((100, 60), 'squash'), ((100, 60), 'border'),
    ((60, 100), 'border')])
def test_view_box_follows_the_pixels(size, mode):
    """A painted rectangle, put through the real transform, lies where the mapping says."""
    from PIL import Image, ImageDraw

    from fgvc_zoo.data import eval_transform
    width, height = size
    left, top, right, bottom = 0.4 * width, 0.35 * height, 0.6 * width, 0.7 * height
    image = Image.new('RGB', size)
    ImageDraw.Draw(image).rectangle([left, top, right - 1, bottom - 1], fill='white')
    tensor = eval_transform(320, (0, 0, 0), (1, 1, 1), 'bilinear', 0.8, mode)(image)[0]
    ys, xs = (tensor > 0.5).nonzero(as_tuple=True)
    seen = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / 320
    expected = view_box(torch.tensor([0.4, 0.35, 0.6, 0.7]), size, dict(crop_pct=0.8, crop_mode=mode))
    torch.testing.assert_close(seen, expected, rtol=0, atol=0.02)


def test_view_box_is_clipped():
    box = view_box(torch.tensor([0.0, 0.0, 1.0, 1.0]), (200, 100), dict(crop_pct=0.875))
    torch.testing.assert_close(box, torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_localization_by_hand():
    true = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 1.0, 1.0]])
    found = torch.tensor([[0.0, 0.0, 0.5, 0.4], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 0.4]])
    result = localization(found, true)
    assert result['iou50'] == pytest.approx(100 / 3, abs=1e-2)  # 0.8, 1/7, 0.4
    assert result['mean_iou'] == pytest.approx((0.8 + 1 / 7 + 0.4) / 3, abs=1e-3)
    # central boxes of areas 0.2, 0.25 and 0.4 meet the second exactly, the others too little
    assert result['central_box_iou50'] == pytest.approx(100 / 3, abs=1e-2)
    # longer sides 1, 0.5, 0.5 of the boxes and 0.5, 0.5, 1 of the true ones
    assert localization(found.flip(0), true)['side_correlation'] == pytest.approx(-0.5, abs=1e-4)
    assert localization(found[:1].expand(3, 4), true)['side_correlation'] == 0


def test_two_passes_are_measured_apart(run_folder, photos):
    model = load_model(str(run_folder))
    dataset = open_dataset(f'folder:{photos}', 'test', transform=eval_transform_for(model))
    seen = []
    model.backbone.register_forward_hook(lambda *_: seen.append(1))
    metrics = evaluate(model, dataset, batch_size=4)
    assert len(seen) == 2 * 2  # two batches, two passes, nothing twice
    images = torch.stack([dataset[index][0] for index in range(6)])
    targets = torch.tensor(dataset.targets)
    with torch.no_grad():
        passes = model.forward_passes(images)
    for name, logits in dict(passes.parts, combined=passes.combined).items():
        assert metrics[name]['top1'] == pytest.approx(100 * (logits.argmax(1) == targets).float().mean().item(), abs=1e-3)
    assert metrics['top1'] == metrics['combined']['top1']
    assert metrics['nll'] == pytest.approx(nn.functional.cross_entropy(passes.combined, targets).item(), abs=1e-3)
    assert set(metrics['per_class']) == {'gala', 'kiwi', 'leek'}
    assert sum(pair['count'] for pair in metrics['confusions']) == (passes.combined.argmax(1) != targets).sum()
    assert 'localization' not in metrics


def test_boxes_are_measured_where_there_are_some(run_folder, photos, tmp_path):
    import shutil
    names = ['gala', 'kiwi', 'leek']
    files = [f'{name}/{index}.jpg' for name in names for index in range(2)]
    shutil.copytree(photos / 'test', tmp_path / 'images')
    def table(name, rows):
        (tmp_path / name).write_text(''.join(f'{index} {row}\n' for index, row in enumerate(rows, 1)))
    table('images.txt', files)
    table('classes.txt', [f'00{index}.{name}' for index, name in enumerate(names, 1)])
    table('image_class_labels.txt', [index // 2 + 1 for index in range(6)])
    table('train_test_split.txt', [index % 2 for index in range(6)])
    table('bounding_boxes.txt', [f'{8 * index}.0 {5 * index}.0 {70 - 9 * index}.0 {60 - 8 * index}.0' for index in range(6)])
    model = load_model(str(run_folder))
    dataset = open_dataset(f'cub200:{tmp_path}', 'test', transform=eval_transform_for(model))
    assert data_name(dataset) == 'cub200'  # whatever its folder is called
    found = evaluate(model, dataset)['localization']
    overlaps = []
    for index in range(len(dataset)):  # one photograph at a time
        with torch.no_grad():
            left, top, right, bottom = model.forward_passes(dataset[index][0][None]).boxes[0].tolist()
        own = view_box(dataset.unit_box(index), dataset.image_size(index), model.pretrained_cfg).tolist()
        shared = max(0, min(right, own[2]) - max(left, own[0])) * max(0, min(bottom, own[3]) - max(top, own[1]))
        overlaps.append(shared / ((right - left) * (bottom - top) + (own[2] - own[0]) * (own[3] - own[1]) - shared))
    assert len(set(overlaps)) == len(overlaps)
    assert found['mean_iou'] == pytest.approx(sum(overlaps) / len(overlaps), abs=1e-3)
    assert found['iou50'] == pytest.approx(100 * sum(value >= 0.5 for value in overlaps) / len(overlaps), abs=1e-3)


@pytest.mark.parametrize(('batch_size', 'wanted'), [(4, 4), (32, 6)])
def test_health_checks_see_two_images_of_each_class_and_count_batches_alike(run_folder, photos, batch_size, wanted):
    seen = []

    class Task(nn.Module):
        def diagnose(self, images, targets):
            assert not self.training and torch.is_inference_mode_enabled()
            seen.append(targets.tolist())
            return dict(first=targets[0].float(), size=torch.tensor(float(len(targets))))

    dataset = open_dataset(f'folder:{photos}', 'test', transform=eval_transform_for(load_model(str(run_folder))))
    found = diagnose(Task(), dataset, batch_size=batch_size)
    for targets in seen:
        assert len(targets) == wanted and all(targets.count(target) == 2 for target in targets)
    assert found == dict(first=pytest.approx(sum(targets[0] for targets in seen) / len(seen)), size=wanted)
    assert diagnose(nn.Identity(), dataset) == {}


def test_a_result_says_baseline_only_of_the_task():
    model = timm.create_model('wsdan', backbone='test_resnet')
    assert method_and_backbone(model, 'wsdan') == method_and_backbone(model, None) == ('wsdan', 'test_resnet')
    assert method_and_backbone(model, 'baseline') == ('baseline', 'test_resnet')
    plain = timm.create_model('test_resnet.r160_in1k')
    assert method_and_backbone(plain, 'baseline') == ('baseline', 'test_resnet')
    assert method_and_backbone(plain, None) == ('', 'test_resnet')  # nobody knows how it was trained
