"""One call registers a method: its names, configurations and entrypoints."""

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from fgvc_zoo import UserError
from fgvc_zoo.models import METHODS, FineGrainedModel, Paper, Variant, find_method, register_method

PAPER = Paper('A Paper', '1234.56789', 'It averages.')


def test_the_papers_are_cited_as_in_the_citation_file():
    """Every author of CITATION.cff, the title's beginning and the year."""
    import yaml
    references = yaml.safe_load((Path(__file__).parents[2] / 'CITATION.cff').read_text())['references']
    papers = [method.paper for method in METHODS.values() if method.package == 'fgvc-zoo']
    assert len(papers) == len(references) == 5
    for paper in papers:
        entry = next(entry for entry in references if entry['title'].startswith(paper.name))
        authors, _, rest = paper.citation.partition(': ')
        assert authors.split(', ') == [author['family-names'] for author in entry['authors']]
        venue = f"{entry['collection-title']} {entry['year']}" if 'collection-title' in entry else str(entry['year'])
        assert rest == f"{entry['title']}. {venue}"
        assert entry.get('url', '').rpartition('/')[2] == paper.arxiv


def make_class(name):
    """A new class with this method name."""
    class Averaging(FineGrainedModel):
        method = name

        def __init__(self, factor: float = 1.0, **shared):
            super().__init__(**shared)
            self.factor = factor
            self.add_classifier(self.num_features)

        def embed(self, features):
            return self.factor * features.mean((2, 3))
    return Averaging


@pytest.fixture
def registered():
    """A name for a method, forgotten after the test."""
    name = 'averaging'
    yield name
    METHODS.pop(name, None)
    for model in [model for model in timm.list_models() if model.startswith(name)]:
        timm.models._registry._clear_model_entries(model)
        timm.models._registry._model_entrypoints.pop(model)
        globals().pop(model)


def test_names_configs_and_entrypoints(registered):
    cls = make_class(registered)
    method = register_method(cls, PAPER, {
        'test_resnet': Variant('Small.', args=dict(factor=2.0)),
        'test_vit': Variant('Tokens.', cfg=dict(pool_size=(10, 10), crop_pct=0.5))})
    assert METHODS[registered] is method and method.package == ''
    assert method.model_names == ['averaging', 'averaging_test_resnet', 'averaging_test_vit']
    assert all(find_method(name) is method for name in [*method.model_names, 'averaging_test_vit.a_tag'])
    assert find_method('resnet50') is None and find_method('averaging_resnet50') is None
    assert timm.model_entrypoint('averaging_test_resnet').__doc__ == 'Small.'
    cfg = timm.get_pretrained_cfg('averaging_test_vit')
    assert (cfg.paper_name, cfg.paper_ids) == ('A Paper', 'arXiv:1234.56789')
    assert (cfg.pool_size, cfg.crop_pct) == ((10, 10), 0.5)
    model = timm.create_model('averaging_test_resnet', num_classes=2)
    assert (model.method, model.backbone_name, model.paper, model.factor) == ('averaging', 'test_resnet', PAPER, 2.0)
    assert timm.create_model('averaging_test_resnet', factor=3.0).factor == 3.0
    bare = timm.create_model('averaging', backbone='test_resnet.r160_in1k', num_classes=2)
    assert bare.backbone_name == 'test_resnet' and isinstance(bare.get_classifier(), nn.Linear)
    assert bare(torch.zeros(1, 3, 64, 64)).shape == (1, 2)
    with pytest.raises(UserError, match="no trained weights for 'averaging'; there are: none yet"):
        timm.create_model('averaging', pretrained=True)


def test_the_pool_size_follows_the_input_size(registered):
    register_method(make_class(registered), PAPER, {'test_resnet': Variant('Large.', cfg=dict(input_size=320))})
    small, large = timm.get_pretrained_cfg('test_resnet'), timm.get_pretrained_cfg('averaging_test_resnet')
    assert large.input_size == (3, 320, 320)
    assert large.pool_size == tuple(320 // small.input_size[1] * side for side in small.pool_size)


def test_impossible_registrations_are_named(registered, tmp_path):
    class Inherits(make_class('averaging')):
        pass

    for cls, args, words in (
            (make_class(''), {}, 'a `method` of its own'),
            (make_class('two words'), {}, 'a `method` of its own'),
            (Inherits, {}, 'a `method` of its own'),
            (make_class('wsdan'), {}, "'wsdan' is already registered"),
            (make_class('resnet50'), {}, "'resnet50' is already registered"),
            (make_class('make_class'), {}, "rename 'make_class'"),
            (make_class(registered), dict(recipe=tmp_path / 'no.yaml'), 'does not exist')):
        with pytest.raises(UserError, match=words):
            register_method(cls, PAPER, {}, **args)
    with pytest.raises(UserError, match="no backbone 'resnet51'"):
        register_method(make_class(registered), PAPER, {'resnet51': Variant('None.')})
    assert registered not in METHODS and not timm.is_model(registered)


@pytest.mark.parametrize('method', sorted(METHODS))
def test_the_answer_and_its_explanation_come_from_the_same_passes(method):
    torch.manual_seed(0)
    model = timm.create_model(method, backbone='test_resnet', num_classes=3).eval()
    images = torch.randn(2, 3, 96, 96)
    logits, explanation = model.forward_explained(images)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(images))
    again = model.explain(images)
    torch.testing.assert_close(explanation[:2], again[:2])
    assert explanation[2:4] == again[2:4]
