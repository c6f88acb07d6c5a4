"""The whole way: one script publishes every checkpoint of the manifest, and from an empty cache a second process uses each of them."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from conftest import ROOT

from fgvc_zoo.checkpoints import golden_input, load_manifest
from fgvc_zoo.loading import load_model

ITEMS = load_manifest()

USE = '''
import json
import sys
import timm
import torch
from transformers import AutoModelForImageClassification
import fgvc_zoo
from fgvc_zoo.checkpoints import golden_input, load_manifest
from fgvc_zoo.loading import load_model

answers = {}
with torch.inference_mode():
    for item in load_manifest():
        name, image = f'tester/{item.name}', golden_input(item.input_size)
        assert item.repo == name and len(item.revision) == 40
        logits_of = dict(
            timm=timm.create_model(f'hf-hub:{name}', pretrained=True).eval()(image),
            tag=timm.create_model(item.name, pretrained=True).eval()(image),
            loaded=load_model(item.name)(image),
            transformers=AutoModelForImageClassification.from_pretrained(name)(image).logits,
            torch_hub=torch.hub.load(
                sys.argv[1], item.architecture, source='local', pretrained=True, pretrained_cfg=item.tag, num_classes=item.num_classes,
            ).eval()(image))
        answers[item.name] = {way: logits[0].tolist() for way, logits in logits_of.items()}
print(json.dumps(answers))
'''


@pytest.fixture
def clone(tmp_path):
    """A clone of the repository, which the script may change."""
    folder = tmp_path / 'clone'
    for name in ('fgvc_zoo', 'fgvc_zoo_cli', 'hub', 'benchmarks/results'):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    shutil.copy(ROOT / 'hubconf.py', folder)
    return folder


def run(client, clone, *argv, **env):
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', *map(str, argv)], cwd=clone, env={**client.environment, 'PYTHONPATH': str(clone), **env},
        capture_output=True, text=True, check=False, timeout=400)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.timeout(1200)
def test_publish_all_and_use_each(hub, client, clone, tmp_path):
    for item in ITEMS:
        assert not item.repo, 'this test publishes what is not published yet'
    planned = run(client, clone, 'hub/publish_all.py', 'tester', '--dry-run', '--only', ITEMS[0].name)
    assert 'model.safetensors added' in planned and not hub.repos

    out = run(client, clone, 'hub/publish_all.py', 'tester')
    assert len(out.splitlines()) == len(ITEMS) == len(hub.repos)
    manifest = yaml.safe_load((clone / 'fgvc_zoo' / 'checkpoints' / 'manifest.yaml').read_text())
    assert {entry['repo']: entry['revision'] for entry in manifest} == {
        name: repo.branches['main'] for name, repo in hub.repos.items()}

    run(client, clone, 'hub/publish_all.py', 'tester', '--only', ITEMS[0].name)
    assert {len(repo.history) for repo in hub.repos.values()} == {2}  # what has not changed costs no commit

    shutil.rmtree(clone / 'hub' / 'checkpoints')  # what is not in the package can come from nowhere else
    answers = json.loads(run(client, clone, '-c', USE, clone, HF_HOME=str(tmp_path / 'empty')).splitlines()[-1])
    assert answers.keys() == {item.name for item in ITEMS}
    for item in ITEMS:
        with torch.inference_mode():
            expected = load_model(item.name)(golden_input(item.input_size))[0]
        for way, logits in answers[item.name].items():
            torch.testing.assert_close(torch.tensor(logits), expected, rtol=1e-5, atol=1e-5, msg=lambda text, way=way: f'{way}: {text}')
