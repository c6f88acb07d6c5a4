"""Publishing with the real client: one commit with what changed, conflicts, rights, and everything that can go wrong on the way."""

import json
import time

import pytest
from loopback import READER, STRANGER, WRITER
from loopback_store import Blob, Repo

COMMIT = '/commit/'


def edit_result(run, **what):
    path = run / 'result.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), **what}))


def wait_for(condition):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < 30
        time.sleep(0.02)


# ---- what is published

def test_one_commit_and_none_when_nothing_changed(hub, run, publish, repo_id):
    done = publish()
    assert done.status == 0, done.err
    assert hub.repos[repo_id].history == [f"Publish {repo_id.split('/')[1]}", 'initial commit']
    folder = run / 'hub'
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: content for name, content in hub.repos[repo_id].files().items() if name != '.gitattributes'}
    hub.forgive()
    again = publish()
    assert again.status == 0 and 'already published' in again.out
    assert len(hub.repos[repo_id].history) == 2
    assert hub.count('POST', 'preupload|lfs|' + COMMIT) == hub.count('PUT', '') == 0


def test_leaderboard_entry(hub, publish, repo_id):
    assert publish('--benchmark', 'apples/thirty').status == 0
    repo = hub.repos[repo_id]
    assert b'id: apples/thirty' in repo.files()['.eval_results/accuracy.yaml']
    done = publish()
    assert done.status == 0 and '- .eval_results/accuracy.yaml (removed)' in done.out
    assert '.eval_results/accuracy.yaml' not in repo.files()


def test_only_what_changed(hub, run, publish, repo_id):
    """A commit on top, without sending the weights again; files of others stay, pictures that are no longer given go."""
    from PIL import Image
    Image.new('RGB', (8, 8)).save(run / 'attention.png')
    assert publish().status == 0
    repo = hub.repos[repo_id]
    repo.commit('main', 'by hand', {**repo.commits[repo.branches['main']].files, 'notes.txt': Blob(b'mine')}, 'tester')
    before = repo.files()
    (run / 'attention.png').unlink()
    edit_result(run, seconds=1234.5)
    hub.forgive()
    done = publish()
    assert done.status == 0, done.err
    assert repo.history[:2] == ['Update README.md, checksums.json, result.json, attention.png', 'by hand']
    after = repo.files()
    assert {name for name in before if before[name] != after.get(name)} == {'README.md', 'checksums.json', 'result.json', 'attention.png'}
    assert 'attention.png' not in after and after['notes.txt'] == b'mine'
    assert hub.count('PUT', '') == 0
    for line in ('~ result.json (changed)', '= model.safetensors (unchanged)', '- attention.png (removed)'):
        assert line in done.out


def test_dry_run(hub, run, publish, repo_id):
    done = publish('--dry-run')
    assert done.status == 0 and '+ model.safetensors (added)' in done.out and not hub.repos
    assert (run / 'hub' / 'README.md').exists()
    assert publish().status == 0
    hub.forgive()
    edit_result(run, seconds=1234.5)
    done = publish('--dry-run')
    assert '~ result.json (changed)' in done.out and '= model.safetensors (unchanged)' in done.out
    assert len(hub.repos[repo_id].history) == 2
    assert {method for method, _ in hub.requests} == {'GET'}


@pytest.mark.parametrize('env', [dict(HF_HUB_OFFLINE='1'), dict(HF_ENDPOINT='http://127.0.0.1:1')], ids=['offline', 'unreachable'])
def test_dry_run_without_a_network(run, repo_id, client, env):
    code = ("import sys; from fgvc_zoo.publishing import upload; upload._WAITS = (0, 0); import fgvc_zoo_cli; "
            f"sys.argv = ['fgvc-zoo', 'publish', {str(run)!r}, {repo_id!r}, '--license', 'MIT', '--dry-run']; fgvc_zoo_cli.main()")
    done = client.fresh(code, **env)
    assert done.status == 0, done.err
    assert 'staged in' in done.out and 'the Hub cannot be reached' in done.out
    assert (run / 'hub' / 'README.md').exists()


def test_private_branch_and_tag(hub, run, publish, repo_id):
    done = publish('--private', '--revision', 'draft', '--tag', 'v0')
    assert done.status == 0, done.err
    repo = hub.repos[repo_id]
    assert repo.private and repo.files() == {'.gitattributes': repo.files()['.gitattributes']}
    assert repo.tags == {'v0': repo.branches['draft']} and 'model.safetensors' in repo.files('v0')
    # the same again, and the same for main under the same tag, which marks another revision
    assert publish('--revision', 'draft', '--tag', 'v0').status == 0
    assert "the tag 'v0'" in publish('--tag', 'v0').error
    assert repo.history == ['initial commit']
    assert publish('--tag', 'v1').status == 0
    assert repo.tags['v1'] == repo.branches['main']


def test_staged_folder(hub, run, publish, repo_id, client):
    """A folder that was staged before is published as it is, for the repository that its card names."""
    assert publish('--dry-run', '--output', run / 'there').status == 0
    assert 'staged already' in publish(source=run / 'there').error
    assert client('publish', run / 'there', repo_id).status == 0
    assert 'model.safetensors' in hub.repos[repo_id].files()
    for options in ([], ['--dry-run']):
        assert 'is not for' in client('publish', run / 'there', 'tester/other', *options).error
    (run / 'there' / 'labels.txt').write_text('x')
    assert 'labels.txt is not what' in client('publish', run / 'there', repo_id).error


def test_a_checkpoint_by_its_name(hub, client, tmp_path, repo_id):
    """The manifest knows the rest."""
    name = 'wsdan_tf_efficientnet_lite0.grocery81'
    done = client('publish', name, repo_id, '--output', tmp_path / 'there')
    assert done.status == 0, done.err
    card = hub.repos[repo_id].files()['README.md'].decode()
    assert f"hf-hub:{repo_id}'" in card and 'license: mit' in card and 'baseline' in card
    assert 'give none of them' in client('publish', name, repo_id, '--license', 'MIT').error
    assert f"did you mean '{name}'" in client('publish', name[:-1], repo_id).error


def test_missing_parts_are_refused(hub, run, client, repo_id):
    assert 'need a licence' in client('publish', run, repo_id).error
    for name in ('apples', 'tester/apples/red', 'tester/'):
        assert 'is not a repository\'s name' in client('publish', run, name, '--license', 'MIT').error
    assert "not a repository's name" in client('publish', run, 'tester/ap ples', '--license', 'MIT').error
    (run / 'result.json').unlink()
    assert 'no result file' in client('publish', run, repo_id, '--license', 'MIT').error
    assert not hub.requests


# ---- who may publish

@pytest.mark.parametrize(('token', 'words'), [
    ('', 'publishing needs a token'), ('hf_wrong', 'the token is not valid'),
    (READER, 'does not allow it'), (STRANGER, 'does not allow it'),
], ids=['nobody', 'unknown', 'may-read', 'another'])
def test_rights(hub, publish, repo_id, token, words):
    for _ in range(2):  # for a repository that is not there, and for one that is
        done = publish(HF_TOKEN=token)
        assert done.status == 2 and words in done.error
        assert not token or token not in done.out + done.err
        hub.repos[repo_id] = Repo(repo_id)
        hub.repos[repo_id].commit('main', 'initial commit', {}, 'tester')
    assert hub.repos[repo_id].history == ['initial commit']


@pytest.mark.parametrize(('method', 'path'), [('POST', 'repos/create'), ('POST', 'preupload'), ('POST', 'batch'), ('POST', COMMIT)])
def test_token_is_never_shown(hub, publish, method, path):
    """Not even when the server sends it back."""
    fault = hub.fail(method, path, status=400, error='what is {authorization}?', headers={'X-Error-Message': f'Bearer {WRITER} ?'})
    done = publish(HF_DEBUG='')
    assert fault.hits == 1 and done.status == 2
    assert WRITER not in done.out + done.err
    assert 'hf_...' in done.error


# ---- several at once

def test_two_publish_the_same(hub, publish, client, run, repo_id):
    held = hub.fail('POST', COMMIT, hold=True)
    first = client.start('publish', run, repo_id, '--license', 'MIT', '--output', run / 'first')
    wait_for(lambda: held.hits)
    assert publish().status == 0
    held.hold = False
    assert first.wait().status == 0
    assert len(hub.repos[repo_id].history) == 2


def test_two_publish_different_things(hub, publish, client, run, repo_id):
    """One wins, the other is told; nothing is mixed or lost."""
    held = hub.fail('POST', COMMIT, hold=True)
    first = client.start('publish', run, repo_id, '--license', 'MIT', '--output', run / 'first')
    wait_for(lambda: held.hits)
    edit_result(run, seconds=1234.5)
    assert publish().status == 0
    held.hold = False
    assert 'changed it at the same time' in first.wait().error
    assert len(hub.repos[repo_id].history) == 2
    assert json.loads(hub.repos[repo_id].files()['result.json'])['seconds'] == 1234.5


def test_many_create_the_repository(hub, client, run, repo_id):
    jobs = [client.start('publish', run, repo_id, '--license', 'MIT', '--output', run / str(index)) for index in range(3)]
    done = [job.wait() for job in jobs]
    assert not any(one.status for one in done), [one.err for one in done]
    assert len(hub.repos[repo_id].history) == 2


# ---- interruptions

@pytest.mark.parametrize(('method', 'where'), [('POST', 'preupload'), ('PUT', '/lfs/'), ('POST', COMMIT)], ids=['early', 'sending', 'late'])
def test_killed(hub, publish, client, run, repo_id, method, where):
    """What was published stays; publishing again completes it."""
    assert publish().status == 0
    before = hub.repos[repo_id].files()
    edit_result(run, seconds=1234.5)
    held = hub.fail(method, where, hold=True)
    job = client.start('publish', run, repo_id, '--license', 'MIT', '--full')
    wait_for(lambda: held.hits)
    job.kill()
    assert hub.repos[repo_id].files() == before
    hub.forgive()
    assert publish('--full').status == 0
    assert json.loads(hub.repos[repo_id].files()['result.json'])['seconds'] == 1234.5
    assert len(hub.repos[repo_id].history) == 3


@pytest.mark.parametrize('faults', [
    [dict(method='PUT', path='/lfs/', cut=1000)],
    [dict(method='PUT', path='/lfs/', cut=1000, reset=True)],
    [dict(method='PUT', path='/lfs/', status=503, times=2)],
    [dict(method='PUT', path='/lfs/', lose=True)],
    [dict(method='POST', path=COMMIT, status=429, headers={'Retry-After': '1'})],
    [dict(method='POST', path=COMMIT, cut=1000)],
    [dict(method='POST', path=COMMIT, lose=True)],
    [dict(method='POST', path=COMMIT, lose=True, times=3)],
    [dict(method='POST', path='repos/create', status=429, headers={'Retry-After': '0'}), dict(method='GET', path='/tree/', cut=100),
     dict(method='POST', path='preupload', status=502), dict(method='POST', path='validate-yaml', status=503),
     dict(method='POST', path=COMMIT, delay=1)],
    [dict(method='POST', path='repos/create', lose=True), dict(method='GET', path='/api/models/', status=503),
     dict(method='POST', path='batch', status=429, headers={'Retry-After': '0'}), dict(method='POST', path='verify', status=504),
     dict(method='POST', path=COMMIT, status=503)],
], ids=['put-cut', 'put-reset', 'put-503', 'put-lost', 'commit-429', 'commit-cut', 'commit-lost', 'commit-lost-often', 'much', 'more'])
def test_a_bad_moment(hub, publish, repo_id, faults):
    """The client or we try again; the result is one commit."""
    injected = [hub.fail(**fault) for fault in faults]
    done = publish()
    assert done.status == 0, done.err
    assert [fault.hits for fault in injected] == [fault.times for fault in injected]
    assert len(hub.repos[repo_id].history) == 2
    assert 'model.safetensors' in hub.repos[repo_id].files()


@pytest.mark.parametrize(('fault', 'words'), [
    (dict(method='POST', path=COMMIT, status=503, times=3), 'the Hub has trouble (503 Service Unavailable)'),
    (dict(method='POST', path=COMMIT, status=429, headers={'Retry-After': '3600'}), 'try again in 3600 seconds'),
    (dict(method='POST', path=COMMIT, status=409), 'somebody changed it'),
    (dict(method='POST', path=COMMIT, status=413), 'the Hub refused (413'),
    (dict(method='PUT', path='/lfs/', corrupt=True), 'the Hub refused (422'),
    (dict(method='PUT', path='/lfs/', status=403), 'does not allow it'),
    (dict(method='POST', path='repos/create', lose=True, times=3), 'the connection to the Hub failed'),
], ids=['commit-503', 'commit-429', 'commit-409', 'commit-413', 'put-altered', 'put-403', 'create-lost'])
def test_a_bad_day(hub, publish, repo_id, fault, words):
    """One sentence, what was published stays as it was, and the next day the same command does it."""
    hub.fail(**fault)
    done = publish()
    assert done.status == 2 and words in done.error
    assert repo_id not in hub.repos or hub.repos[repo_id].history == ['initial commit']
    hub.forgive()
    assert publish().status == 0
    assert len(hub.repos[repo_id].history) == 2


def test_nobody_answers(client, run, repo_id):
    done = client(code=f"""
import sys, fgvc_zoo_cli
from huggingface_hub import constants
constants.ENDPOINT = 'http://127.0.0.1:9'
sys.argv = ['fgvc-zoo', 'publish', {str(run)!r}, {repo_id!r}, '--license', 'MIT']
fgvc_zoo_cli.main()""")
    assert done.status == 2 and 'the connection to the Hub failed' in done.error
