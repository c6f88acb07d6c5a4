"""The loopback Hub's interface: one function per request."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import yaml
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from loopback_store import Blob, Commit, HubError, Repo, owns

if TYPE_CHECKING:
    from loopback import LoopbackHub

LICENSES = {'apache-2.0', 'mit', 'cc-by-4.0', 'cc-by-nc-4.0', 'bsd-3-clause', 'openrail', 'other', 'unknown'}
_GITATTRIBUTES = b'*.bin filter=lfs diff=lfs merge=lfs -text\n*.safetensors filter=lfs diff=lfs merge=lfs -text\n'


def routes(hub: LoopbackHub) -> FastAPI:
    """The application that answers for `hub`."""
    api = FastAPI(openapi_url=None)

    @api.exception_handler(HubError)
    async def answer(_: Request, error: HubError) -> Response:
        return error.response

    for add in (_account_routes, _repository_routes, _info_routes, _file_routes,
                _ref_routes, _upload_routes, _commit_routes, _download_routes):
        add(api, hub)
    return api


def _account_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """Who is logged in."""

    @api.get('/api/whoami-v2')
    async def whoami(request: Request) -> dict[str, Any]:
        user = hub.user(request)
        if user is None:
            raise HubError(401, 'Invalid username or password.')
        return dict(type='user', name=user[0], fullname=user[0], orgs=[dict(type='org', name='zoo')],
                    auth=dict(type='access_token', accessToken=dict(displayName='test', role=user[1])))


def _repository_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """Create and delete repositories, and check the metadata of a card."""

    @api.post('/api/repos/create')
    async def create_repo(request: Request) -> Response:
        body = await request.json()
        user = hub.user(request)
        if user is None:
            raise HubError(401, 'Invalid username or password.')
        repo_id = f"{body.get('organization') or user[0]}/{body['name']}"
        author = hub.may_write(request, repo_id)
        is_space = body.get('type') == 'space'
        if is_space and not body.get('sdk'):
            raise HubError(400, '"sdk" is required')
        url = f"{hub.endpoint}/{'spaces/' if is_space else ''}{repo_id}"
        if repo_id in hub.repos:
            return JSONResponse(dict(error='You already created this model repo', url=url), 409)
        repo = hub.repos[repo_id] = Repo(repo_id, private=body.get('visibility') == 'private' or bool(body.get('private')),
                                        sdk=body.get('sdk') or '')
        repo.commit('main', 'initial commit', {'.gitattributes': Blob(_GITATTRIBUTES)}, author)
        return JSONResponse(dict(url=url, name=repo_id, id=secrets.token_hex(12)))

    @api.delete('/api/repos/delete')
    async def delete_repo(request: Request) -> Response:
        body = await request.json()
        repo = hub.writable(request, f"{body.get('organization') or 'tester'}/{body['name']}")
        del hub.repos[repo.id]
        return Response('OK')

    @api.post('/api/validate-yaml')
    async def validate_yaml(request: Request) -> Response:
        content = (await request.json())['content']
        header = re.match(r'---\r?\n(.*?)\n---\s', content, re.DOTALL)
        if header is None:
            return JSONResponse(dict(errors=[], warnings=[dict(message='empty or missing yaml metadata in repo card')]))
        try:
            data = yaml.safe_load(header[1])
        except yaml.YAMLError as error:
            return JSONResponse(dict(errors=[dict(message=str(error))], warnings=[]), 400)
        errors = []
        if not isinstance(data, dict):
            errors.append('the metadata must be a mapping')
        elif 'license' in data and data['license'] not in LICENSES:
            errors.append(f'"license" must be one of {sorted(LICENSES)}')
        return JSONResponse(dict(errors=[dict(message=error) for error in errors], warnings=[]), 400 if errors else 200)


def _info_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """Lists of repositories, and what is known about one."""

    @api.get('/api/models')
    async def list_models(request: Request) -> Response:
        query = request.query_params
        user = hub.user(request)
        rows = [_info(repo, repo.branches['main']) for repo in hub.repos.values()
                if not repo.private or (user is not None and owns(user, repo.id))]
        for tag in query.getlist('filter'):
            rows = [row for row in rows if tag in row['tags']]
        if 'author' in query:
            rows = [row for row in rows if row['author'] == query['author']]
        if 'search' in query:
            rows = [row for row in rows if query['search'].lower() in row['id'].lower()]
        begin = int(query.get('cursor', 0))
        end = begin + min(int(query.get('limit', hub.page_size)), hub.page_size)
        headers = {}
        if end < len(rows):
            following = request.url.include_query_params(cursor=end)
            headers['Link'] = f'<{following}>; rel="next"'
        return JSONResponse(rows[begin:end], headers=headers)

    @api.get('/api/models/{owner}/{name}')
    async def model_info(request: Request, owner: str, name: str) -> dict[str, Any]:
        repo = hub.readable(request, f'{owner}/{name}')
        return _info(repo, repo.branches['main'], 'blobs' in request.query_params)

    @api.get('/api/models/{owner}/{name}/revision/{revision}')
    async def revision_info(request: Request, owner: str, name: str, revision: str) -> dict[str, Any]:
        repo = hub.readable(request, f'{owner}/{name}')
        return _info(repo, _at(repo, revision)[0], 'blobs' in request.query_params)


def _file_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """The files and commits of a revision."""

    @api.get('/api/models/{owner}/{name}/tree/{revision}')
    @api.get('/api/models/{owner}/{name}/tree/{revision}/{inside:path}')
    async def tree(request: Request, owner: str, name: str, revision: str, inside: str = '') -> list[dict[str, Any]]:
        _, commit = _at(hub.readable(request, f'{owner}/{name}', content=True), revision)
        rows = [*_folders(commit.files), *(_entry(path, blob) for path, blob in sorted(commit.files.items()))]
        below = f'{inside}/' if inside else ''
        rows = [row for row in rows if row['path'].startswith(below)]
        if request.query_params.get('recursive', 'false').lower() not in ('true', '1'):
            rows = [row for row in rows if '/' not in row['path'][len(below):]]
        return rows

    @api.post('/api/models/{owner}/{name}/paths-info/{revision}')
    async def paths_info(request: Request, owner: str, name: str, revision: str) -> list[dict[str, Any]]:
        _, commit = _at(hub.readable(request, f'{owner}/{name}', content=True), revision)
        paths = parse_qs((await request.body()).decode()).get('paths', [])
        rows = [*_folders(commit.files), *(_entry(path, blob) for path, blob in sorted(commit.files.items()))]
        return [row for row in rows if row['path'] in paths]

    @api.get('/api/models/{owner}/{name}/commits/{revision}')
    async def commits(request: Request, owner: str, name: str, revision: str) -> list[dict[str, Any]]:
        repo = hub.readable(request, f'{owner}/{name}')
        ids = repo.log(_at(repo, revision)[0])
        return [dict(id=oid, title=repo.commits[oid].title, message='', date=_stamp(repo.commits[oid].date),
                     authors=[dict(user=repo.commits[oid].author)]) for oid in ids]


def _ref_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """Branches and tags."""

    @api.get('/api/models/{owner}/{name}/refs')
    async def refs(request: Request, owner: str, name: str) -> dict[str, Any]:
        repo = hub.readable(request, f'{owner}/{name}')
        return dict(converts=[], **{kind: [dict(name=ref, ref=f'refs/{where}/{ref}', targetCommit=oid) for ref, oid in targets.items()]
                                    for kind, where, targets in (('branches', 'heads', repo.branches), ('tags', 'tags', repo.tags))})

    @api.post('/api/models/{owner}/{name}/tag/{revision}')
    async def create_tag(request: Request, owner: str, name: str, revision: str) -> Response:
        repo = hub.writable(request, f'{owner}/{name}')
        tag = (await request.json())['tag']
        if tag in repo.tags:
            raise HubError(409, f'Tag reference exists already: {tag}')
        repo.tags[tag] = _at(repo, revision)[0]
        return Response(status_code=201)

    @api.delete('/api/models/{owner}/{name}/tag/{tag}')
    async def delete_tag(request: Request, owner: str, name: str, tag: str) -> Response:
        if hub.writable(request, f'{owner}/{name}').tags.pop(tag, None) is None:
            raise HubError(404, f'Tag not found: {tag}', 'RevisionNotFound')
        return Response(status_code=204)

    @api.post('/api/models/{owner}/{name}/branch/{branch}')
    async def create_branch(request: Request, owner: str, name: str, branch: str) -> Response:
        repo = hub.writable(request, f'{owner}/{name}')
        if branch in repo.branches:
            raise HubError(409, f'Reference already exists: {branch}')
        start = json.loads(await request.body() or b'{}').get('startingPoint', 'main')
        repo.branches[branch] = _at(repo, start)[0]
        return Response(status_code=201)


def _upload_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """Large files, before the commit that refers to them."""
    received: dict[str, bytes] = {}

    @api.post('/api/models/{owner}/{name}/preupload/{revision}')
    async def preupload(request: Request, owner: str, name: str, revision: str) -> dict[str, Any]:
        repo = hub.writable(request, f'{owner}/{name}')
        files = repo.commits[_branch_of(repo, revision)].files
        rows = []
        for item in (await request.json())['files']:
            sample = base64.b64decode(item['sample'])
            lfs = item['path'].endswith(('.safetensors', '.bin')) or item['size'] > 10_000_000 or not _is_text(sample)
            known = files.get(item['path'])
            rows.append(dict(path=item['path'], uploadMode='lfs' if lfs else 'regular', shouldIgnore=False,
                             oid=known.etag if known and known.lfs == lfs else None))
        return dict(files=rows, commitOid=repo.branches[revision])

    @api.post('/{owner}/{name}.git/info/lfs/objects/batch')
    async def lfs_batch(request: Request, owner: str, name: str) -> Response:
        hub.writable(request, f'{owner}/{name}')
        objects = []
        for item in (await request.json())['objects']:
            if item['oid'] in hub.objects:
                objects.append(dict(oid=item['oid'], size=item['size']))
            else:
                verify = f'{hub.endpoint}/{owner}/{name}.git/info/lfs/objects/verify'
                objects.append(dict(oid=item['oid'], size=item['size'], authenticated=True, actions=dict(
                    upload=dict(href=hub.signed(item['oid'])), verify=dict(href=verify))))
        return JSONResponse(dict(transfer='basic', objects=objects), media_type='application/vnd.git-lfs+json')

    @api.put('/lfs/{oid}')
    async def put_object(request: Request, oid: str) -> Response:
        hub.check_signature(request)
        received[oid] = await request.body()
        return Response(headers={'ETag': f'"{hashlib.md5(received[oid]).hexdigest()}"'})

    @api.post('/{owner}/{name}.git/info/lfs/objects/verify')
    async def lfs_verify(request: Request, owner: str, name: str) -> Response:
        hub.writable(request, f'{owner}/{name}')
        item = await request.json()
        if item['oid'] in hub.objects:  # another client has sent it meanwhile
            return Response()
        content = received.pop(item['oid'], b'')
        if len(content) != item['size'] or hashlib.sha256(content).hexdigest() != item['oid']:
            raise HubError(422, f"the received content does not have the sha256 {item['oid']}")
        hub.objects[item['oid']] = content
        return Response()


def _commit_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """One commit of several files."""

    @api.post('/api/models/{owner}/{name}/commit/{revision}')
    async def commit(request: Request, owner: str, name: str, revision: str) -> dict[str, Any]:
        repo = hub.writable(request, f'{owner}/{name}')
        lines = [json.loads(line) for line in (await request.body()).splitlines() if line]
        header = next(line['value'] for line in lines if line['key'] == 'header')
        head = _branch_of(repo, revision)
        if (parent := header.get('parentCommit')) is not None and not head.startswith(parent):
            raise HubError(412, 'A commit has happened since. Please refresh and try again.')
        files = dict(repo.commits[head].files)
        for line in lines:
            value = line['value']
            if line['key'] == 'file':
                files[value['path']] = Blob(base64.b64decode(value['content']))
            elif line['key'] == 'lfsFile':
                if value['oid'] not in hub.objects:
                    raise HubError(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                files[value['path']] = Blob(hub.objects[value['oid']], lfs=True)
            elif line['key'] == 'deletedFile':
                if files.pop(value['path'], None) is None:
                    raise HubError(404, "A file with this name doesn't exist", 'EntryNotFound')
            elif line['key'] == 'deletedFolder':
                files = {path: blob for path, blob in files.items() if not path.startswith(value['path'].rstrip('/') + '/')}
        oid = repo.commit(revision, header['summary'], files, hub.may_write(request, repo.id))
        return dict(success=True, commitOid=oid, commitUrl=f'{hub.endpoint}/{repo.id}/commit/{oid}', hookOutput='')


def _download_routes(api: FastAPI, hub: LoopbackHub) -> None:
    """The content of files, whole or in ranges."""

    @api.api_route('/{owner}/{name}/resolve/{revision}/{path:path}', methods=['GET', 'HEAD'])
    async def resolve(request: Request, owner: str, name: str, revision: str, path: str) -> Response:
        oid, commit = _at(hub.readable(request, f'{owner}/{name}', content=True), revision)
        blob = commit.files.get(path)
        if blob is None:
            raise HubError(404, 'Entry not found', 'EntryNotFound', **{'X-Repo-Commit': oid})
        headers = {'X-Repo-Commit': oid, 'ETag': f'"{blob.etag}"', 'Accept-Ranges': 'bytes'}
        if blob.lfs:
            hub.objects.setdefault(blob.sha256, blob.content)
            size = str(len(blob.content))
            headers.update({'X-Linked-Etag': headers.pop('ETag'), 'X-Linked-Size': size, 'Location': hub.signed(blob.sha256)})
            return Response(status_code=302, headers=headers)
        return _content(request, blob.content, headers)

    @api.api_route('/lfs/{oid}', methods=['GET', 'HEAD'])
    async def get_object(request: Request, oid: str) -> Response:
        hub.check_signature(request)
        if oid not in hub.objects:
            raise HubError(404, 'NoSuchKey')
        return _content(request, hub.objects[oid], {'ETag': f'"{oid}"', 'Accept-Ranges': 'bytes'})


def _at(repo: Repo, revision: str) -> tuple[str, Commit]:
    oid = repo.resolve(revision)
    if oid is None:
        raise HubError(404, f'Invalid rev id: {revision}', 'RevisionNotFound')
    return oid, repo.commits[oid]


def _branch_of(repo: Repo, name: str) -> str:
    if name not in repo.branches:
        raise HubError(404, f'Invalid rev id: {name}', 'RevisionNotFound')
    return repo.branches[name]


def _info(repo: Repo, oid: str, blobs: bool = False) -> dict[str, Any]:
    files = repo.commits[oid].files
    card: dict[str, Any] = {}
    if 'README.md' in files and (header := re.match(rb'---\n(.*?)\n---', files['README.md'].content, re.DOTALL)):
        card = yaml.safe_load(header[1])
    siblings = [dict(rfilename=path, **(dict(size=len(blob.content), blobId=blob.git_oid, **(
        dict(lfs=dict(sha256=blob.sha256, size=len(blob.content), pointerSize=130)) if blob.lfs else {})) if blobs else {}))
        for path, blob in sorted(files.items())]
    first, last = repo.commits[repo.log(oid)[-1]], repo.commits[oid]
    tags = [*card.get('tags', []), *(card[key] for key in ('library_name', 'pipeline_tag') if key in card)]
    return dict(
        _id='0' * 24, id=repo.id, modelId=repo.id, author=repo.id.partition('/')[0], sha=oid, private=repo.private,
        gated='manual' if repo.gated else False, disabled=False, downloads=0, likes=0, tags=list(dict.fromkeys(tags)),
        createdAt=_stamp(first.date), lastModified=_stamp(last.date), cardData=card, siblings=siblings,
        **{key: card[key] for key in ('library_name', 'pipeline_tag') if key in card})


def _entry(path: str, blob: Blob) -> dict[str, Any]:
    lfs = dict(oid=blob.sha256, size=len(blob.content), pointerSize=130)
    return dict(type='file', path=path, size=len(blob.content), oid=blob.git_oid, **(dict(lfs=lfs) if blob.lfs else {}))


def _folders(files: dict[str, Blob]) -> list[dict[str, Any]]:
    names = {path[:index] for path in files for index, letter in enumerate(path) if letter == '/'}
    return [dict(type='directory', path=name, oid=hashlib.sha1(name.encode()).hexdigest(), size=0) for name in sorted(names)]


def _content(request: Request, content: bytes, headers: dict[str, str]) -> Response:
    """The whole content, or the requested range."""
    byte_range = re.fullmatch(r'bytes=(\d+)-(\d*)', request.headers.get('range', ''))
    if byte_range is None:
        return Response(content, headers=headers, media_type='application/octet-stream')
    begin, end = int(byte_range[1]), min(int(byte_range[2] or len(content)), len(content) - 1)
    if begin >= len(content):
        return Response(status_code=416, headers={'Content-Range': f'bytes */{len(content)}'})
    headers = {**headers, 'Content-Range': f'bytes {begin}-{end}/{len(content)}'}
    return Response(content[begin:end + 1], 206, headers, media_type='application/octet-stream')


def _is_text(sample: bytes) -> bool:
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.start > len(sample) - 4  # a character that the sample's end cut
    return b'\0' not in sample


def _stamp(date: str) -> str:
    return datetime.fromisoformat(date).strftime('%Y-%m-%dT%H:%M:%S.%f')[:-3] + 'Z'
