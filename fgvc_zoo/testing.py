"""The tests that every method must pass, for this package and for packages that add a method. Needs pytest.

    from fgvc_zoo.testing import MethodContract

    class TestBilinearCNN(MethodContract):
        method = 'bilinear_cnn'

pytest then runs all tests of the class. Call `pytest.register_assert_rewrite('fgvc_zoo.testing')` before this import to
see values in failure messages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fgvc_zoo import UserError
from fgvc_zoo.models import METHODS, Explanation, FineGrainedModel, find_method
from fgvc_zoo.recipes import load_recipe, recipe_for
from fgvc_zoo.tasks import create_task


class MethodContract:
    """Subclass it in a test module, with a name that begins with 'Test'.

    Attributes:
        method: Name of the method; a method that is not registered fails every test.
        backbone: A small timm architecture with registered `METHOD_BACKBONE`, or any for the bare name.
        first_layer: Name of a parameter of the backbone's first layer.
        size: Side of the test images in pixels.
        task_args: Arguments of the task beside the recipe's, such as short phases.
        model_args: Arguments of the model.
    """

    method: ClassVar[str]
    backbone: ClassVar[str] = 'tf_efficientnet_lite0'
    first_layer: ClassVar[str] = 'conv_stem.weight'
    size: ClassVar[int] = 64
    task_args: ClassVar[dict[str, Any]] = {}
    model_args: ClassVar[dict[str, Any]] = {}

    def make(self, **args: Any) -> Any:
        """The method's model in eval mode, with five classes and random weights, always the same ones."""
        assert self.method in METHODS, f"no method '{self.method}' is registered (there are {', '.join(METHODS)})"
        torch.manual_seed(0)
        name = f'{self.method}_{self.backbone}'
        args = {**dict(num_classes=5), **self.model_args, **args}
        if name not in METHODS[self.method].model_names:
            name, args = self.method, dict(args, backbone=self.backbone)
        return timm.create_model(name, **args).eval()

    @pytest.fixture
    def images(self) -> Tensor:
        """Two images (2, 3, size, size)."""
        return torch.randn(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(1))

    def test_facts(self) -> None:
        """The model says what it is, and timm and the registry agree."""
        model = self.make()
        assert isinstance(model, FineGrainedModel)
        assert model.method == self.method and model.backbone_name == self.backbone
        assert model.paper.name and model.paper.idea.endswith('.')
        for name in METHODS[self.method].model_names:
            method = find_method(name)
            assert method is not None and method.model is type(model) and timm.is_model(name)
            cfg = timm.get_pretrained_cfg(name)
            assert cfg is not None and cfg.paper_name == model.paper.name
            assert (timm.model_entrypoint(name).__doc__ or '').strip()

    def test_logits_in_both_modes(self, images: Tensor) -> None:
        model = self.make()
        with torch.no_grad():
            assert model(images).shape == (2, 5)
            assert model(images[:1]).shape == (1, 5)
            assert model(torch.randn(1, 3, self.size, self.size * 3 // 2)).shape == (1, 5)
            assert model.train()(images).shape == (2, 5)

    def test_an_image_does_not_depend_on_its_batch(self, images: Tensor) -> None:
        model = self.make()
        with torch.no_grad():
            torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-3, atol=1e-4)

    def test_head_can_be_replaced_and_removed(self, images: Tensor) -> None:
        model = self.make()
        assert isinstance(model.get_classifier(), nn.Linear)
        with torch.no_grad():
            features = model.forward_features(images)
            assert features.shape[:2] == (2, model.num_features)
            model.reset_classifier(3)
            assert model(images).shape == (2, 3) and model.num_classes == 3
            model.reset_classifier(0)
            assert model(images).shape == (2, model.head_hidden_size)
        assert self.make(num_classes=0).num_classes == 0

    def test_other_input_channels_and_unknown_arguments(self) -> None:
        assert self.make(in_chans=1)(torch.zeros(1, 1, self.size, self.size)).shape == (1, 5)
        with pytest.raises(TypeError, match='no_such_argument'):
            self.make(no_such_argument=1)

    def test_folder_round_trip_and_fine_tuning_from_it(self, images: Tensor, tmp_path: Path) -> None:
        model = self.make()
        timm.models.save_for_hf(model, str(tmp_path), safe_serialization=True)
        again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
        with torch.no_grad():
            torch.testing.assert_close(again(images), model(images), rtol=0, atol=0)
        other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=7, in_chans=1).eval()
        assert other(images[:, :1]).shape == (2, 7)
        kept = dict(other.named_parameters())
        same = [key for key, value in model.named_parameters() if key in kept and torch.equal(kept[key], value)]
        assert len(same) > 0.9 * len(kept)

    def test_backbone_weights_reach_the_model(self, tmp_path: Path) -> None:
        torch.manual_seed(3)
        source = timm.create_model(self.backbone)
        save_file(source.state_dict(), tmp_path / 'backbone.safetensors')
        model = self.make(pretrained_backbone=str(tmp_path / 'backbone.safetensors'))
        loaded = model.backbone.model.get_parameter(self.first_layer)
        torch.testing.assert_close(loaded, source.get_parameter(self.first_layer))

    def test_weights_that_do_not_exist_are_an_error(self) -> None:
        missing = [name for name in METHODS[self.method].model_names if name not in timm.list_pretrained()]
        with pytest.raises(UserError, match='no trained weights'):
            timm.create_model(missing[0], pretrained=True)

    def test_half_precision_and_autocast_stay_finite(self, images: Tensor) -> None:
        with torch.no_grad():
            assert self.make().to(torch.bfloat16)(images.to(torch.bfloat16)).isfinite().all()
            model = self.make()
            for scale in (0.0, 1.0, 1e4):
                with torch.autocast('cpu', dtype=torch.bfloat16):
                    assert model(images * scale).isfinite().all(), scale

    def test_meta_device(self) -> None:
        model = self.make(device='meta')
        assert model(torch.zeros(2, 3, self.size, self.size, device='meta')).shape == (2, 5)

    def test_compiles_as_one_graph(self, images: Tensor) -> None:
        model = self.make()
        torch.compiler.reset()
        compiled: Any = torch.compile(model, fullgraph=True, backend='eager')
        with torch.no_grad():
            torch.testing.assert_close(compiled(images), model(images), rtol=1e-3, atol=1e-4)

    def test_scripts(self, images: Tensor) -> None:
        model = self.make()
        with torch.no_grad():
            torch.testing.assert_close(torch.jit.script(model)(images), model(images), rtol=1e-3, atol=1e-4)

    def test_export_with_any_batch_equals_eager(self, images: Tensor) -> None:
        model = self.make()
        exported = torch.export.export(model, (images,), dynamic_shapes={'x': {0: torch.export.Dim('batch')}}).module()
        for some in (images[:1], torch.cat([images, images.flip(0)])[:3]):
            with torch.no_grad():
                torch.testing.assert_close(exported(some), model(some), rtol=1e-3, atol=1e-4)

    def test_layer_decay_sees_depth(self) -> None:
        model = self.make()
        match = model.group_matcher()
        depth = {key: match(key) for key, _ in model.named_parameters() if key.startswith('backbone.')}
        assert depth[f'backbone.model.{self.first_layer}'] == 0 and len(set(depth.values())) > 3
        assert match('classifier.weight') > max(depth.values())

    def test_explanation(self, images: Tensor) -> None:
        explanation = self.make().explain(images)
        assert isinstance(explanation, Explanation)
        maps, boxes = explanation.maps, explanation.boxes
        assert maps.shape[:2] == (2, len(explanation.map_names)) and maps.dtype == torch.float32
        assert boxes.shape == (2, len(explanation.box_names), 4)
        assert (maps >= 0).all() and maps.isfinite().all()
        assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[..., 2:] > boxes[..., :2]).all()
        assert not maps.requires_grad
        for look in explanation.looks.values():
            assert look.shape == (2, 5) and look.isfinite().all() and not look.requires_grad

    def test_parts_belong_to_the_prediction(self, images: Tensor) -> None:
        model = self.make()
        if not hasattr(model, 'forward_passes'):
            assert type(model).forward is FineGrainedModel.forward  # a single pass has no parts
            return
        with torch.no_grad():
            passes = model.forward_passes(images)
            expected = model(images).log_softmax(1)
            torch.testing.assert_close(passes.combined.log_softmax(1), expected, rtol=1e-4, atol=1e-4)
        assert all(part.shape == (2, 5) for part in passes.parts.values())

    def test_its_task_trains_every_parameter_and_keeps_its_state(self) -> None:
        """Steps with the recipe's task reach every parameter; the task's own state survives a round trip."""
        recipe = load_recipe(recipe_for(self.method))
        assert recipe.name == self.method
        images = torch.randn(4, 3, self.size, self.size, generator=torch.Generator().manual_seed(2))
        targets = torch.tensor([0, 0, 1, 1])
        model = self.make()
        args = {**recipe.task_args, **self.task_args}
        task = create_task(recipe.task, model, smoothing=0.1, **args).train()
        trained: set[str] = set()
        for step in range(3):
            torch.manual_seed(step)
            result = task(images, targets)
            assert result['output'].shape == (4, 5) and result['loss'].ndim == 0 and result['loss'].isfinite()
            task.zero_grad()
            result['loss'].backward()
            trained |= {key for key, parameter in task.named_parameters() if parameter.grad is not None}
            assert all(parameter.grad.isfinite().all() for parameter in task.parameters() if parameter.grad is not None)
        assert trained == {key for key, _ in task.named_parameters()}
        other: Any = create_task(recipe.task, self.make(), smoothing=0.1, **args).train()
        other.load_task_state(task.get_task_state())
        other.trainable_module.load_state_dict(model.state_dict())
        losses = []
        for each in (task, other):
            torch.manual_seed(9)
            losses.append(each(images, targets)['loss'].detach())
        torch.testing.assert_close(losses[0], losses[1])
