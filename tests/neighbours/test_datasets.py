"""datasets: a folder of photographs, the model's transform, the model."""

import pytest
import torch
from datasets import load_dataset

from fgvc_zoo.data import ImageFolder
from fgvc_zoo.loading import class_names, eval_transform_for


@pytest.fixture
def dataset(photos, tmp_path):
    return load_dataset('imagefolder', data_dir=str(photos), split='test', cache_dir=str(tmp_path))


def test_image_folder(dataset, model, photos):
    """The same pictures, the same numbers for the classes and so the same answers as from this package's reader."""
    transform = eval_transform_for(model)

    def prepare(batch):
        return dict(pixels=[transform(image.convert('RGB')) for image in batch['image']], label=batch['label'])

    ours = ImageFolder(photos, 'test', transform)
    assert dataset.features['label'].names == class_names(model) == list(ours.class_names)
    batch = next(iter(torch.utils.data.DataLoader(dataset.with_transform(prepare), 6)))
    assert batch['label'].tolist() == list(ours.targets)
    torch.testing.assert_close(batch['pixels'], torch.stack([image for image, _ in ours]), rtol=0, atol=0)
    assert model(batch['pixels']).shape == (6, 3)


def test_map_adds_answers(dataset, model):
    transform, names = eval_transform_for(model), class_names(model)

    def name(batch):
        with torch.inference_mode():
            logits = model(torch.stack([transform(image.convert('RGB')) for image in batch['image']]))
        return dict(name=[names[index] for index in logits.argmax(1)])

    mapped = dataset.map(name, batched=True, batch_size=4)['name']
    with torch.inference_mode():
        alone = [names[model(transform(row['image'].convert('RGB'))[None]).argmax()] for row in dataset]
    assert list(mapped) == alone
