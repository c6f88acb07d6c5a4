"""What every method inherits."""

import pytest
import timm
import torch

from fgvc_zoo import FineGrainedModel, UserError
from fgvc_zoo.layers import attention_box


class Mean(FineGrainedModel):
    pools = ('avg', 'sum')

    def __init__(self, **shared):
        super().__init__(**shared)
        self.add_classifier(self.num_features)

    def embed(self, features):
        return features.mean((2, 3)) if self.global_pool == 'avg' else features.sum((2, 3))


@pytest.fixture
def model():
    return Mean(backbone='test_resnet', num_classes=3).eval()


def test_shared_arguments_reach_the_backbone_and_unknown_ones_are_named():
    model = Mean(backbone='test_vit', in_chans=1, img_size=96, num_classes=2, drop_rate=0.3, device='meta', dtype=torch.bfloat16)
    assert model(torch.empty(1, 1, 96, 96, device='meta', dtype=torch.bfloat16)).shape == (1, 2)
    assert model.backbone_name == 'test_vit' and model.drop.p == 0.3
    assert model.like_backbone() == dict(device=torch.device('meta'), dtype=torch.bfloat16)
    with pytest.raises(TypeError, match='num_map'):
        Mean(num_map=3)
    with pytest.raises(UserError, match="choose from 'avg', 'sum' or ''"):
        Mean(backbone='test_resnet', global_pool='max')


def test_backbone_name_is_the_architecture_without_tag():
    assert Mean(backbone='test_resnet.r160_in1k').backbone_name == 'test_resnet'


def test_an_explanation_without_a_method_of_its_own(model):
    images = torch.randn(2, 3, 64, 96)
    explanation = model.explain(images)
    with torch.no_grad():
        features = model.forward_features(images)
    mean = torch.stack([torch.stack([channel.abs() for channel in image]).sum(0) / len(image) for image in features])
    torch.testing.assert_close(explanation.maps[:, 0], mean)
    torch.testing.assert_close(explanation.boxes[:, 0], attention_box(mean, torch.tensor(0.5), 0.0, 64, 96))


def test_favoured_weights_are_the_predicted_row_minus_the_mean(model):
    embedded = torch.randn(4, model.num_features)
    weight = model.classifier.weight.detach()
    for row, label in zip(model.favoured_weights(embedded), model.classifier(embedded).argmax(1), strict=True):
        torch.testing.assert_close(row, weight[label] - weight.sum(0) / 3)


def test_every_backbone_is_found():
    model = timm.create_model('racnn', backbone='test_resnet', num_scales=3)
    assert list(model._networks()) == ['backbone.model', 'backbones.0.model', 'backbones.1.model']
