"""Model folders that earlier versions wrote: every version loads them, with the same logits."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fgvc_zoo import UserError
from fgvc_zoo.calibration import Calibration
from fgvc_zoo.checkpoints import golden_input
from fgvc_zoo.config_file import FORMAT
from fgvc_zoo.loading import class_names, load_model
from fgvc_zoo.models import METHODS
from fgvc_zoo.saving import save_model

FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob('*/*/config.json'))


@pytest.mark.parametrize('folder', FOLDERS, ids=lambda folder: f'{folder.parent.name}-{folder.name}')
def test_an_earlier_model_gives_the_same_logits(folder):
    model = load_model(str(folder))
    with torch.no_grad():
        logits = model(golden_input(64))
    torch.testing.assert_close(logits, torch.tensor(json.loads((folder / 'logits.json').read_text())), rtol=1e-4, atol=1e-4)
    assert class_names(model) == ['gala', 'kiwi', 'leek'] and model.calibration == Calibration(0.8, 0.4, 12)


def test_every_format_has_a_model_of_every_method():
    kept = {(folder.parent.name, folder.name) for folder in FOLDERS}
    own = [name for name, method in METHODS.items() if method.package == 'fgvc-zoo']
    assert kept == {(str(version), name) for version in range(1, FORMAT + 1) for name in own}


def test_a_folder_is_saved_in_the_newest_format(tmp_path):
    save_model(load_model(str(FOLDERS[0])), tmp_path)
    assert json.loads((tmp_path / 'config.json').read_text())['format'] == FORMAT


@pytest.mark.parametrize(('value', 'words'), [
    (FORMAT + 1, f'reads up to format {FORMAT}: pip install --upgrade fgvc-zoo'), ('1', "the format '1'"), (0, 'the format 0'),
    (True, 'the format True')])
def test_a_newer_format_says_what_to_do(tmp_path, value, words):
    folder = shutil.copytree(FOLDERS[0], tmp_path / 'model')
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'format': value}))
    with pytest.raises(UserError, match=words):
        load_model(str(folder))


def test_the_first_models_had_no_format(tmp_path):
    folder = shutil.copytree(FOLDERS[0], tmp_path / 'model')
    config = json.loads((folder / 'config.json').read_text())
    del config['format']
    (folder / 'config.json').write_text(json.dumps(config))
    load_model(str(folder))
