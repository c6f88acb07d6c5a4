"""What was published comes back: through timm, by revision, without a network, and intact or not at all."""

import hashlib
import json
import re
import shutil

import pytest
import timm
from loopback import READER, STRANGER
from loopback_store import Blob
from safetensors.torch import load_file, save_file
from timm.models._hub import save_config_for_hf

from fgvc_zoo.models import METHODS

SAME = '''
import timm, torch
import fgvc_zoo
from fgvc_zoo.checkpoints import golden_input

def answer(name, **args):
    with torch.inference_mode():
        return timm.create_model(name, pretrained=True, **args).eval()(golden_input(64))
'''


@pytest.fixture
def published(publish):
    """The run, published."""
    done = publish()
    assert done.status == 0, done.err
    return done


def change_weights(run):
    """Another training run's weights and result in the same folder."""
    state = load_file(run / 'model.safetensors')
    state['classifier.bias'][0] += 1
    save_file(state, run / 'model.safetensors')
    result = json.loads((run / 'result.json').read_text())
    result.update(golden=None, weights_sha256=hashlib.sha256((run / 'model.safetensors').read_bytes()).hexdigest())
    (run / 'result.json').write_text(json.dumps(result))


# ---- through timm

@pytest.mark.parametrize('method', METHODS)
def test_every_method_comes_back(hub, client, run, repo_id, method):
    """Published in full precision and pulled, bit for bit the same logits."""
    model = timm.create_model(method, backbone='test_resnet', num_classes=3).eval()
    model.pretrained_cfg.update(input_size=(3, 64, 64), num_classes=3)
    save_config_for_hf(model, run / 'config.json', model_config=dict(label_names=['gala', 'kiwi', 'leek']))
    save_file(model.state_dict(), run / 'model.safetensors')
    digest = hashlib.sha256((run / 'model.safetensors').read_bytes()).hexdigest()
    (run / 'result.json').write_text(json.dumps(dict(json.loads((run / 'result.json').read_text()), golden=None, weights_sha256=digest)))
    done = client('publish', run, repo_id, '--license', 'MIT', '--full')
    assert done.status == 0, done.err
    done = client(code=SAME + f'''
assert torch.equal(answer('local-dir:{run}'), answer('hf-hub:{repo_id}'))
model = timm.create_model('hf-hub:{repo_id}', pretrained=True)
assert model.method == '{method}' and model.pretrained_cfg['label_names'] == ['gala', 'kiwi', 'leek']
''')
    assert done.status == 0, done.err


def test_half_precision_other_heads_and_cache_folder(published, client, run, repo_id, tmp_path):
    done = client(code=SAME + f'''
from pathlib import Path
from huggingface_hub import constants
assert torch.equal(answer('local-dir:{run}/hub'), answer('hf-hub:{repo_id}', cache_dir={str(tmp_path)!r}))
assert any(Path({str(tmp_path)!r}).rglob('model.safetensors'))
assert not list(Path(constants.HF_HUB_CACHE).glob('models--{repo_id.replace("/", "--")}'))
model = timm.create_model('hf-hub:{repo_id}', pretrained=True, num_classes=5, in_chans=1)
assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 5)
''')
    assert done.status == 0, done.err


def test_revisions(hub, client, publish, run, repo_id, tmp_path):
    assert publish('--tag', 'v1').status == 0
    shutil.copytree(run / 'hub', tmp_path / 'v1')
    change_weights(run)
    assert publish('--tag', 'v2').status == 0
    first, second = hub.repos[repo_id].tags.values()
    done = client(code=SAME + f'''
old, new = answer('local-dir:{tmp_path}/v1'), answer('local-dir:{run}/hub')
assert not torch.equal(old, new)
for revision, expected in (('v1', old), ('v2', new), ('main', new), ('{first}', old), ('{second[:8]}', new)):
    assert torch.equal(answer('hf-hub:{repo_id}@' + revision), expected), revision
assert torch.equal(answer('hf-hub:{repo_id}'), new)
''')
    assert done.status == 0, done.err
    assert client('verify', f'{repo_id}@v1').status == 0
    assert 'no such revision' in client('verify', f'hf-hub:{repo_id}@v3').error


def test_the_card_does_what_it_says(hub, published, client, photos, repo_id, tmp_path):
    """Its Python and its shell command, as they stand there."""
    shutil.copy(next((photos / 'test' / 'kiwi').iterdir()), tmp_path / 'photo.jpg')
    card = hub.repos[repo_id].files()['README.md'].decode()
    python, with_transformers = re.findall('```python\n(.*?)```', card, re.DOTALL)
    compile(with_transformers, 'card', 'exec')
    done = client(code=f'import os\nos.chdir({str(tmp_path)!r})\n' + python)
    assert done.status == 0, done.err
    assert len(re.findall(r'^(gala|kiwi|leek): [\d.]+%$', done.out, re.MULTILINE)) == 3
    command = re.search('`fgvc-zoo (predict .*?)`', card)[1].replace('photo.jpg', str(tmp_path / 'photo.jpg'))
    done = client(*command.split(), '--json')
    assert {item['name'] for item in json.loads(done.out)[0]['predictions']} == {'gala', 'kiwi', 'leek'}


WITHOUT_A_NETWORK = SAME + '''
from fgvc_zoo.loading import load_model
from fgvc_zoo import UserError
assert answer('hf-hub:REPO').shape == (1, 3)
assert load_model('hf-hub:REPO').num_classes == 3
try:
    load_model('hf-hub:REPO-2')
except UserError as error:
    print(error)
'''


def test_without_a_network(published, client, repo_id, photos):
    """What is in the cache loads, what is not is said: with a Hub that does not answer, and offline (in a new interpreter)."""
    assert client('predict', photos / 'test', '--model', f'hf-hub:{repo_id}', '--json').status == 0
    code = WITHOUT_A_NETWORK.replace('REPO', repo_id)
    dead = client(code='''
from huggingface_hub import constants
constants.HUGGINGFACE_CO_URL_TEMPLATE = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, 'http://127.0.0.1:9')
constants.ENDPOINT = 'http://127.0.0.1:9'
''' + code)
    assert dead.status == 0, dead.err
    assert 'the connection to the Hub failed' in dead.out
    offline = client.fresh(code, HF_HUB_OFFLINE='1')
    assert offline.status == 0, offline.err
    assert 'HF_HUB_OFFLINE forbids' in offline.out


def test_it_is_found(published, client, repo_id):
    done = client(code=f'''
from huggingface_hub import list_models, model_info
assert {repo_id!r} in [item.id for item in list_models(filter=['timm', 'fgvc-zoo'], author='tester')]
info = model_info({repo_id!r})
assert (info.library_name, info.pipeline_tag, info.card_data.license) == ('timm', 'image-classification', 'mit')
assert info.card_data.eval_results[0].metric_type == 'accuracy'
''')
    assert done.status == 0, done.err


# ---- who may

def test_rights(hub, published, client, repo_id, photos):
    predict = ('predict', photos / 'test', '--model', f'hf-hub:{repo_id}')
    hub.repos[repo_id].private = True
    assert 'no such repository, or it is private' in client(*predict, HF_TOKEN='').error
    assert 'no such repository, or it is private' in client(*predict, HF_TOKEN=STRANGER).error
    assert 'the token is not valid' in client(*predict, HF_TOKEN='hf_wrong').error
    hub.repos[repo_id].private, hub.repos[repo_id].gated = False, True
    assert 'access to it must be asked for' in client(*predict, HF_TOKEN='').error
    assert 'access to it must be asked for' in client('verify', repo_id, HF_TOKEN=STRANGER).error
    assert client(*predict, HF_TOKEN=READER).status == 0
    assert 'no such repository' in client('verify', 'tester/nothing').error


# ---- on the way

@pytest.mark.parametrize('fault', [
    dict(method='GET', path='/lfs/', cut=50_000, times=2), dict(method='GET', path='/lfs/', delay=5),
    dict(method='HEAD', path='resolve', status=503, times=2), dict(method='GET', path='resolve', status=429, headers={'Retry-After': '0'}),
    dict(method='GET', path='/lfs/', status=429, headers={'Retry-After': '1'}),
], ids=['cut', 'slow', 'head-503', 'get-429', 'weights-429'])
def test_a_bad_moment(hub, published, client, run, repo_id, fault):
    injected = hub.fail(**fault)
    done = client(code=SAME + f"assert torch.equal(answer('local-dir:{run}/hub'), answer('hf-hub:{repo_id}'))")
    assert done.status == 0, done.err
    assert injected.hits == injected.times


@pytest.mark.parametrize(('fault', 'words'), [
    (dict(method='GET', path='/lfs/', corrupt=True), "'model.safetensors' of 'REPO' was damaged in transfer"),
    (dict(method='GET', path='config.json', corrupt=True), "'config.json' of 'REPO' was damaged in transfer"),
    (dict(method='GET', path='/lfs/', cut=50_000, reset=True), 'the connection to the Hub failed'),
    (dict(method='GET', path='/lfs/', status=500), 'the Hub has trouble (500'),
    (dict(method='GET', path='/revision/', status=503), 'the Hub has trouble (503'),
    (dict(method='GET', path='/tree/', status=429, times=6, headers={'Retry-After': '0'}), 'too many requests'),
], ids=['weights-altered', 'config-altered', 'reset', 'weights-500', 'info-503', 'tree-429'])
def test_a_bad_day(hub, published, client, repo_id, photos, fault, words):
    """One sentence that names what is wrong; afterwards the same command works."""
    hub.fail(**fault)
    predict = ('predict', photos / 'test', '--model', f'hf-hub:{repo_id}', '--json')
    assert words.replace('REPO', repo_id) in client(*predict).error
    hub.forgive()
    done = client(*predict)
    assert done.status == 0, done.err


def test_timm_alone_does_not_take_what_is_damaged(hub, published, client, repo_id):
    hub.fail(method='GET', path='/lfs/', corrupt=True)
    attempt = client(code=SAME + f"""
from fgvc_zoo import UserError
try:
    answer('hf-hub:{repo_id}')
except UserError as error:
    print(error)
""")
    assert attempt.status == 0 and f"'model.safetensors' of '{repo_id}' was damaged in transfer" in attempt.out, attempt.err
    hub.forgive()
    assert client(code=SAME + f"answer('hf-hub:{repo_id}')").status == 0


def test_pickles_are_not_loaded(hub, published, client, repo_id):
    """timm itself would look for one where there is no safetensors file."""
    repo = hub.repos[repo_id]
    files = dict(repo.commits[repo.branches['main']].files)
    files['pytorch_model.bin'] = files.pop('model.safetensors')
    repo.commit('main', 'by hand', files, 'tester')
    assert 'has no model.safetensors' in client('predict', 'examples', '--model', f'hf-hub:{repo_id}').error
    assert hub.count('GET', 'pytorch_model') == 0


def test_token_stays_with_the_hub(hub, published, client, repo_id):
    """Weights come from another origin, by a signed address; the loopback answers 400 if the token comes along."""
    assert client('verify', repo_id).status == 0
    assert hub.count('GET', '/lfs/') == 2


# ---- verify

def test_verify(published, client, photos, repo_id):
    done = client('verify', repo_id, '--data', f'folder:{photos}', '--workers', 0)
    assert done.status == 0, done.err
    assert '6 files are intact' in done.out and 'the figures hold' in done.out
    assert len(re.findall(r'^.*top1 .*\+0\.00.*$', done.out, re.MULTILINE)) >= 3


def test_figures_that_do_not_hold(client, publish, run, photos, repo_id):
    result = json.loads((run / 'result.json').read_text())
    result['metrics']['top1'] += 12.5
    (run / 'result.json').write_text(json.dumps(result))
    assert publish().status == 0
    done = client('verify', repo_id, '--data', f'folder:{photos}', '--workers', 0)
    assert done.status == 1 and 'do not hold: they differ by at most 12.50' in done.out
    assert client('verify', repo_id, '--data', f'folder:{photos}', '--workers', 0, '--tolerance', 20).status == 0


def test_changes_behind_the_checksums(hub, published, client, repo_id):
    """A file that somebody exchanged in the repository is named; so is a repository that is not ours."""
    repo = hub.repos[repo_id]
    files = repo.commits[repo.branches['main']].files
    repo.commit('main', 'by hand', {**files, 'labels.txt': Blob(b'kiwi\ngala\nleek\n')}, 'tester')
    assert 'labels.txt is not what checksums.json says' in client('verify', repo_id).error
    repo.commit('main', 'by hand', {name: blob for name, blob in files.items() if name != 'checksums.json'}, 'tester')
    assert 'nothing to compare' in client('verify', repo_id).error
