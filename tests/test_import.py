"""Importing the package registers the models, disturbs nothing, and needs none of the extras."""

import subprocess
import sys


def run(code):
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_no_warning_and_no_collision_with_timm():
    run("import timm\n"
        "before, pretrained = set(timm.list_models()), set(timm.list_pretrained())\n"
        "import warnings\n"
        "warnings.simplefilter('error')\n"
        "import fgvc_zoo\n"
        "assert before < set(timm.list_models())\n"
        "assert pretrained <= set(timm.list_pretrained())\n"
        "from fgvc_zoo.models import METHODS, find_method\n"
        "assert set(METHODS) == {'apinet', 'osme', 'racnn', 'wsban', 'wsdan'}\n"
        "assert all(find_method(name) for name in set(timm.list_models()) - before)\n")


def test_extras_are_not_imported():
    out = run("import sys, fgvc_zoo, fgvc_zoo.loading, fgvc_zoo.prediction, fgvc_zoo.explain, fgvc_zoo.evaluation\n"
              "print([name for name in ('accelerate', 'matplotlib', 'tensorboard', 'typer', 'onnx') if name in sys.modules])")
    assert out.strip() == '[]'


def test_weights_are_claimed_only_where_there_are_some():
    run("import timm, fgvc_zoo\n"
        "from fgvc_zoo.checkpoints import load_manifest\n"
        "from fgvc_zoo.models import find_method\n"
        "claimed = [name for name in timm.list_pretrained() if find_method(name)]\n"
        "assert sorted(claimed) == sorted(item.name for item in load_manifest() if item.in_package or item.repo), claimed\n"
        "assert all(item.file.is_file() for item in load_manifest() if item.in_package)\n")
