"""A Hub on this machine: the part of huggingface.co's HTTP interface that huggingface_hub uses to publish and fetch models.

It was written against the requests of huggingface_hub 2.4 and keeps real revisions: every commit has an id, a parent and its own files, so
that branches, tags, `@revision` and conflicts behave as in git. Large files (LFS) come from another origin than everything else, by a
redirect, and reach it by a signed address, as on the real Hub: neither may see the token.

Everything is in memory. What can go wrong is arranged with `LoopbackHub.fail`: statuses with their headers, slow answers, connections that
end in the middle of an upload or a download, and content that was altered on its way.

What the real Hub has and this has not: Xet storage (the client needs HF_HUB_DISABLE_XET=1), multipart LFS uploads, pull requests,
datasets, revisions with a slash in their name, `.gitignore`, organisations' roles, malware scans, quotas, and the exact wording of most
error messages. A Space is stored as a model is, so that a model cannot have its name, and it does not run. Which files are LFS is decided
by their first bytes and their suffix, not by `.gitattributes`.

    python tests/hub/loopback.py --port 8800       # then HF_ENDPOINT=http://127.0.0.1:8800 HF_TOKEN=hf_writer HF_HUB_DISABLE_XET=1 ...
"""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import uvicorn
from fastapi import Request
from fastapi.responses import JSONResponse
from loopback_routes import routes
from loopback_store import HubError, Repo, owns
from uvicorn.protocols.http.h11_impl import H11Protocol

WRITER, READER, STRANGER = 'hf_writer', 'hf_reader', 'hf_stranger'


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests whose method and path match."""

    method: str
    path: str
    times: int = 1
    status: int | None = None      # answer this
    headers: dict[str, str] = field(default_factory=dict)
    error: str = 'injected'        # what the answer's body says; '{authorization}' is replaced by that header
    delay: float = 0.0             # seconds before anything else
    hold: bool = False             # before anything else, wait until the test sets this to False
    cut: int | None = None         # end the connection after so many bytes of the request's or the answer's body
    reset: bool = False            # ... with a reset instead of a clean end
    corrupt: bool = False          # alter one byte of the body, in either direction
    lose: bool = False             # do what was asked, then end the connection without an answer
    hits: int = 0


class _Connection(H11Protocol):
    """Remembers each connection's transport, so that a fault can end it."""

    transports: ClassVar[dict[tuple[str, int], Any]] = {}

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.transports[transport.get_extra_info('peername')[:2]] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transports.pop(self.transport.get_extra_info('peername')[:2], None)
        super().connection_lost(exc)


class _Ended(Exception):
    """The connection was ended on purpose."""


class LoopbackHub:
    """The Hub. `with LoopbackHub() as hub: ...` serves it from a thread.

    Attributes:
        endpoint: What HF_ENDPOINT must say.
        repos: Repositories by id.
        users: Token -> (name, role). `tester` owns what it creates and everything below the organisation `zoo`.
        requests: (method, path) of everything that was asked, in order.
        objects: LFS content by sha256.
    """

    def __init__(self, port: int = 0) -> None:
        self.repos: dict[str, Repo] = {}
        self.users = {WRITER: ('tester', 'write'), READER: ('tester', 'read'), STRANGER: ('stranger', 'write')}
        self.requests: list[tuple[str, str]] = []
        self.objects: dict[str, bytes] = {}
        self.page_size = 100
        self._faults: list[Fault] = []
        self._secret = secrets.token_hex(8)
        config = uvicorn.Config(self, host='127.0.0.1', port=port, http=_Connection, log_level='critical', lifespan='off', ws='none')
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._api = routes(self)
        self.endpoint = self._elsewhere = ''

    def __enter__(self) -> LoopbackHub:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), 'the loopback Hub did not start'
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.endpoint, self._elsewhere = f'http://127.0.0.1:{port}', f'http://localhost:{port}'
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)

    def fail(self, method: str, path: str, **what: Any) -> Fault:
        """Arrange a fault; `path` is a regular expression that is searched in the request's path."""
        fault = Fault(method, path, **what)
        self._faults.append(fault)
        return fault

    def forgive(self) -> None:
        """Forget the faults that are left, and the requests so far."""
        for fault in self._faults:
            fault.hold = False
        self._faults.clear()
        self.requests.clear()

    def count(self, method: str, path: str) -> int:
        """How many requests there were."""
        return sum(asked == method and re.search(path, where) is not None for asked, where in self.requests)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        method, path = scope['method'], scope['path']
        if path.startswith(('/api/spaces/', '/spaces/')):
            where = path.replace('/api/spaces/', '/api/models/', 1).removeprefix('/spaces')
            scope = {**scope, 'path': where, 'raw_path': where.encode()}
        self.requests.append((method, path))
        fault = next((item for item in self._faults if item.hits < item.times and item.method == method
                      and re.search(item.path, path)), None)
        if fault is None:
            return await self._api(scope, receive, send)
        fault.hits += 1
        await asyncio.sleep(fault.delay)
        while fault.hold:
            await asyncio.sleep(0.01)
        if fault.status is not None:
            await _drain(receive)
            sent = dict(scope['headers']).get(b'authorization', b'').decode()
            return await JSONResponse({'error': fault.error.replace('{authorization}', sent)}, fault.status, fault.headers)(
                scope, receive, send)
        wire = _Wire(fault, receive, send, _Connection.transports[scope['client']])
        try:
            await self._api(scope, wire.receive, wire.send)
        except _Ended:
            await asyncio.sleep(0)
        return None

    # ---- who may do what

    def user(self, request: Request) -> tuple[str, str] | None:
        """(name, role) of the request's token; None without one."""
        header = request.headers.get('authorization')
        if header is None:
            return None
        if (user := self.users.get(header.removeprefix('Bearer '))) is None:
            raise HubError(401, 'Invalid credentials in Authorization header')
        return user

    def readable(self, request: Request, repo_id: str, content: bool = False) -> Repo:
        """The repository, if this request may see it (and its files' content)."""
        user, repo = self.user(request), self.repos.get(repo_id)
        if repo is None or (repo.private and (user is None or not owns(user, repo_id))):
            raise HubError(404 if user else 401, 'Repository not found' if user else 'Invalid username or password.', 'RepoNotFound')
        if repo.gated and content and (user is None or not owns(user, repo_id)):
            raise HubError(403 if user else 401, f'Access to model {repo_id} is restricted.', 'GatedRepo')
        return repo

    def writable(self, request: Request, repo_id: str) -> Repo:
        """The repository, if this request may change it."""
        self.may_write(request, repo_id)
        return self.readable(request, repo_id)

    def may_write(self, request: Request, repo_id: str) -> str:
        """The name of the user, who may write there."""
        user = self.user(request)
        if user is None:
            raise HubError(401, 'Invalid username or password.')
        if user[1] != 'write' or not owns(user, repo_id):
            raise HubError(403, 'You don\'t have the rights to do this with the current token')
        return user[0]

    def signed(self, oid: str) -> str:
        """Address of an LFS object on the other origin."""
        return f'{self._elsewhere}/lfs/{oid}?signature={self._secret}'

    def check_signature(self, request: Request) -> None:
        """Only signed addresses, and no token."""
        if request.query_params.get('signature') != self._secret:
            raise HubError(403, 'SignatureDoesNotMatch')
        if 'authorization' in request.headers:
            raise HubError(400, 'Only one auth mechanism allowed')


class _Wire:
    """Receive and send with a fault between."""

    def __init__(self, fault: Fault, receive: Any, send: Any, transport: Any) -> None:
        self._fault, self._receive, self._send, self._transport = fault, receive, send, transport
        self._left = fault.cut
        self._to_alter = fault.corrupt

    async def receive(self) -> dict[str, Any]:
        message = await self._receive()
        if message['type'] == 'http.request':
            message['body'] = self._alter(message.get('body', b''))
            if self._left is not None:
                self._left -= len(message['body'])
                if message['body'] and self._left <= 0:
                    self._end()
        return message

    async def send(self, message: dict[str, Any]) -> None:
        if self._fault.lose:
            self._end()
        if message['type'] == 'http.response.body':
            message['body'] = self._alter(message.get('body', b''))
            if self._left is not None and len(message['body']) > self._left:
                await self._send({**message, 'body': message['body'][:self._left], 'more_body': True})
                self._end()
        await self._send(message)

    def _alter(self, body: bytes) -> bytes:
        if not self._to_alter or not body:
            return body
        self._to_alter = False
        middle = len(body) // 2
        return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]

    def _end(self) -> None:
        if self._fault.reset:
            self._transport.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
        raise _Ended


async def _drain(receive: Any) -> None:
    while (await receive()).get('more_body'):
        pass


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--port', type=int, default=8800)
    with LoopbackHub(parser.parse_args().port) as running:
        print(f'HF_ENDPOINT={running.endpoint} HF_TOKEN={WRITER} HF_HUB_DISABLE_XET=1')
        running._thread.join()
