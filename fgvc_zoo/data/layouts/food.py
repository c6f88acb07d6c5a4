"""Food-101."""

from __future__ import annotations

from fgvc_zoo._errors import UserError
from fgvc_zoo.data._base import ImageDataset, Sample
from fgvc_zoo.data.index_files import read_json
from fgvc_zoo.data.info import DataInfo


class Food101(ImageDataset):
    """The official layout of Food-101. Splits: 'train', 'test', 'fit', 'holdout'."""

    name = 'food101'
    marks = ('meta/train.json', 'images')
    info = DataInfo(
        title='Food-101', home='https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/', classes=101,
        kind='dishes', images=dict(train=75_750, test=25_250), folder='images/CLASS/\nmeta/train.json\nmeta/test.json',
        licence="scientific fair use; anything else is for the photographs' owners to allow",
        citation='Bossard, Guillaumin, Van Gool: Food-101 - Mining Discriminative Components with Random Forests. ECCV 2014')

    def official_splits(self) -> tuple[str, ...]:
        return ('train', 'test')

    def _read(self, split: str) -> tuple[list[str], list[Sample]]:
        root = self.below('food-101')
        file = root / 'meta' / f'{split}.json'
        content = read_json(file)
        if not isinstance(content, dict) or not all(isinstance(images, list) for images in content.values()):
            raise UserError(f'{file}: expected a list of images for each class')
        folders = sorted(content)
        place = {folder: index for index, folder in enumerate(folders)}
        samples = [Sample(f'images/{image}.jpg', root / 'images' / f'{image}.jpg', place[folder])
                   for folder, images in content.items() for image in images]
        return [folder.replace('_', ' ').capitalize() for folder in folders], samples
