"""PyTorch Lightning around a method's own training step."""

import pytest
import pytorch_lightning as lightning
import timm
import torch

from fgvc_zoo.data import ImageFolder
from fgvc_zoo.loading import eval_transform_for
from fgvc_zoo.tasks import create_task

pytestmark = [
    pytest.mark.filterwarnings('ignore:The .*dataloader.* does not have many workers'),
    pytest.mark.filterwarnings('ignore:.*LeafSpec:FutureWarning'),
]


class Module(lightning.LightningModule):
    """The whole of what a user writes."""

    def __init__(self, model):
        super().__init__()
        self.task = create_task('wsdan', model)
        self.steps = []

    def training_step(self, batch, index):
        result = self.task(*batch)
        self.steps.append(result['loss'].item())
        self.log_dict({key: result[key] for key in ('loss', 'crop', 'center')})
        return result['loss']

    def validation_step(self, batch, index):
        images, targets = batch
        self.log('top1', (self.task.trainable_module(images).argmax(1) == targets).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def test_fit_validate_and_load(model, photos, tmp_path):
    data = {split: torch.utils.data.DataLoader(ImageFolder(photos, split, eval_transform_for(model)), 3) for split in ('train', 'test')}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    module = Module(model.train())
    trainer = lightning.Trainer(
        max_epochs=1, accelerator='cpu', default_root_dir=tmp_path, logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, data['train'], data['test'])

    assert trainer.global_step == 3 and len(module.steps) == 3
    assert trainer.callback_metrics['loss'].item() == pytest.approx(module.steps[-1])
    assert 0 <= trainer.callback_metrics['top1'] <= 1
    assert module.task.centers.abs().sum() > 0  # the method's own state moved too
    assert not torch.equal(model.state_dict()['attention.conv.weight'], before['attention.conv.weight'])

    path, = tmp_path.rglob('*.ckpt')
    again = Module(timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4))
    again.load_state_dict(torch.load(path, weights_only=True)['state_dict'])
    images = next(iter(data['test']))[0]
    with torch.inference_mode():
        torch.testing.assert_close(again.task.trainable_module.eval()(images), model.eval()(images))
