"""The loopback Hub answers huggingface_hub as the real one does, as far as it goes."""

from loopback import READER, STRANGER

SCRIPT = '''
import os
from pathlib import Path
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import *

def fails(error, call, *words):
    try:
        call()
    except error as caught:
        assert all(word in str(caught) for word in words), caught
        return caught
    raise AssertionError(f'no {error.__name__}')

api = HfApi()
assert api.whoami()['name'] == 'tester'

# repositories
assert str(api.create_repo('tester/a')).endswith('/tester/a')
api.create_repo('tester/a', exist_ok=True)
fails(HfHubHTTPError, lambda: api.create_repo('tester/a'), '409')
assert api.list_repo_files('tester/a') == ['.gitattributes']
first = api.repo_info('tester/a').sha

# commits: a text file, a large file, a folder; what is unchanged makes no commit
Path('up/deep/down').mkdir(parents=True)
Path('up/README.md').write_text('---\\nlibrary_name: timm\\nlicense: mit\\ntags: [birds]\\n---\\n# a\\n')
Path('up/w.safetensors').write_bytes(bytes(range(256)) * 100)
Path('up/deep/down/empty.txt').touch()
second = api.upload_folder(repo_id='tester/a', folder_path='up').oid
assert api.upload_folder(repo_id='tester/a', folder_path='up').oid == second != first
info = api.model_info('tester/a', files_metadata=True)
assert (info.sha, info.library_name, info.card_data.license) == (second, 'timm', 'mit')
lfs = {item.rfilename: item.lfs for item in info.siblings}
assert lfs['w.safetensors'].size == 25600 and lfs['README.md'] is None
assert [item.path for item in api.list_repo_tree('tester/a')] == ['deep', '.gitattributes', 'README.md', 'w.safetensors']
assert {item.path for item in api.list_repo_tree('tester/a', 'deep', recursive=True)} == {'deep/down', 'deep/down/empty.txt'}
assert [item.path for item in api.get_paths_info('tester/a', ['README.md', 'nothing'])] == ['README.md']
third = api.create_commit('tester/a', [CommitOperationDelete('deep/')], commit_message='less', parent_commit=second).oid
fails(HfHubHTTPError, lambda: api.create_commit(
    'tester/a', [CommitOperationAdd('x', b'x')], commit_message='late', parent_commit=second), '412')
fails(ValueError, lambda: api.create_commit(
    'tester/a', [CommitOperationAdd('README.md', b'---\\nlicense: mine\\n---\\n')], commit_message='bad'), 'license')
assert [item.title for item in api.list_repo_commits('tester/a')] == ['less', 'Upload folder using huggingface_hub', 'initial commit']

# revisions
api.create_tag('tester/a', tag='v1', revision=second)
fails(HfHubHTTPError, lambda: api.create_tag('tester/a', tag='v1'), '409')
api.create_branch('tester/a', branch='dev', revision=first)
refs = api.list_repo_refs('tester/a')
assert {item.name: item.target_commit for item in refs.branches} == {'main': third, 'dev': first}
assert [(item.name, item.target_commit) for item in refs.tags] == [('v1', second)]
assert api.file_exists('tester/a', 'deep/down/empty.txt', revision='v1') and not api.file_exists('tester/a', 'deep/down/empty.txt')
fails(RevisionNotFoundError, lambda: api.repo_info('tester/a', revision='v2'))
api.delete_tag('tester/a', tag='v1')

# downloads
assert Path(hf_hub_download('tester/a', 'w.safetensors')).read_bytes() == bytes(range(256)) * 100
assert Path(hf_hub_download('tester/a', 'deep/down/empty.txt', revision=second[:8])).read_bytes() == b''
fails(EntryNotFoundError, lambda: hf_hub_download('tester/a', 'nothing'))
assert sorted(os.listdir(snapshot_download('tester/a', revision='dev'))) == ['.gitattributes']

# lists, page by page
for name in 'bcdef':
    api.create_repo(f'tester/{name}', private=name == 'f')
assert [item.id for item in api.list_models(author='tester')] == [f'tester/{name}' for name in 'abcdef']
assert [item.id for item in api.list_models(filter=['timm', 'birds'])] == ['tester/a']
assert [item.id for item in api.list_models(search='/D')] == ['tester/d']

# who may do what
reader, stranger, nobody, wrong = (HfApi(token=token) for token in (READER, STRANGER, False, 'hf_wrong'))
assert reader.repo_info('tester/f').private
for api_ in (stranger, nobody):
    fails(RepositoryNotFoundError, lambda: api_.repo_info('tester/f'))
    assert len(list(api_.list_models())) == 5
fails(HfHubHTTPError, lambda: wrong.repo_info('tester/a'), '401')
for api_ in (reader, stranger):
    fails(HfHubHTTPError, lambda: api_.create_commit('tester/a', [CommitOperationAdd('x', b'x')], commit_message='x'), '403')
fails(HfHubHTTPError, lambda: nobody.create_repo('tester/g'), '401')
api.delete_repo('tester/f')
fails(RepositoryNotFoundError, lambda: api.repo_info('tester/f'))
'''


def test_the_client_finds_what_it_expects(hub, client, tmp_path):
    hub.page_size = 2
    outcome = client.fresh(f'import os\nos.chdir({str(tmp_path)!r})\nREADER, STRANGER = {READER!r}, {STRANGER!r}\n' + SCRIPT)
    hub.page_size = 100
    assert outcome.status == 0, outcome.err


def test_ranges(hub, client):
    """What a resumed download asks for."""
    outcome = client.fresh('''
from huggingface_hub import HfApi, hf_hub_url
from huggingface_hub.utils import get_session
api = HfApi()
api.create_repo('tester/a')
api.upload_file(path_or_fileobj=bytes(range(100)), path_in_repo='w.bin', repo_id='tester/a')
ask = lambda byte_range: get_session().get(hf_hub_url('tester/a', 'w.bin'), headers={'Range': byte_range})
assert ask('bytes=90-').content == bytes(range(90, 100)) and ask('bytes=90-').status_code == 206
assert ask('bytes=3-5').content == bytes([3, 4, 5])
assert ask('bytes=100-').status_code == 416
''')
    assert outcome.status == 0, outcome.err
