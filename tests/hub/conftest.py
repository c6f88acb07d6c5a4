"""A loopback Hub, a client that talks to it, and small runs to publish."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from loopback import WRITER, LoopbackHub

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds a job may take on a machine that is busy with other things


@dataclass
class Outcome:
    """What a job did: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that says what went wrong."""
        assert 'Traceback' not in self.out + self.err, self.err
        line = self.err.splitlines()[-1]
        assert line.startswith('fgvc-zoo: error: '), self.err
        return line


@dataclass
class Job:
    """A running job."""

    pid: int
    folder: Path

    def wait(self) -> Outcome:
        """Until it ends."""
        begun = time.monotonic()
        while not (self.folder / 'status').exists():
            if time.monotonic() - begun > PATIENCE:
                self.kill()
                pytest.fail(f"the job did not end: {(self.folder / 'stderr').read_text()}")
            time.sleep(0.02)
        return Outcome(*(int((self.folder / 'status').read_text()), *((self.folder / name).read_text() for name in ('stdout', 'stderr'))))

    def kill(self) -> None:
        """At once, as the machine losing power would."""
        os.kill(self.pid, signal.SIGKILL)


class Client:
    """Jobs with the real client, its own cache and WRITER's token."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.home = folder / 'home'
        self._folder, self._count = folder, 0
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(('HF_', 'HUGGING')) and not name.lower().endswith('_proxy')}
        self.environment.update(
            HF_ENDPOINT=endpoint, HF_HOME=str(self.home), HF_TOKEN=WRITER, HF_HUB_DISABLE_XET='1', HF_HUB_DISABLE_TELEMETRY='1',
            HF_HUB_DISABLE_PROGRESS_BARS='1', HF_HUB_DOWNLOAD_TIMEOUT='4', PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', COLUMNS='200')
        self._process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', str(Path(__file__).with_name('workshop.py'))], env=self.environment, cwd=folder, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self, *argv: object, code: str | None = None, **env: str) -> Job:
        """Begin `fgvc-zoo argv...`, or a script; variables in `env` change the environment, an empty one is removed from it."""
        self._count += 1
        folder = self._folder / f'job{self._count}'
        folder.mkdir()
        what = dict(code=code) if code else dict(argv=[str(word) for word in argv])
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(dict(**what, env=env, folder=str(folder))) + '\n')
        self._process.stdin.flush()
        return Job(int(self._process.stdout.readline()), folder)

    def __call__(self, *argv: object, code: str | None = None, **env: str) -> Outcome:
        """Run and wait."""
        return self.start(*argv, code=code, **env).wait()

    def fresh(self, code: str, **env: str) -> Outcome:
        """A script in a new interpreter, for what huggingface_hub reads when it is imported."""
        result = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env={**self.environment, **env}, cwd=self._folder,
                                capture_output=True, text=True, check=False, timeout=PATIENCE)
        return Outcome(result.returncode, result.stdout, result.stderr)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope='session')
def _loopback():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def hub(_loopback):
    """The loopback Hub, without repositories and without faults."""
    _loopback.repos.clear()
    _loopback.objects.clear()
    _loopback.forgive()
    return _loopback


@pytest.fixture(scope='session')
def _client(_loopback, tmp_path_factory):
    client = Client(_loopback.endpoint, tmp_path_factory.mktemp('client'))
    yield client
    client.close()


@pytest.fixture
def client(_client, hub):
    """Call it with the arguments of `fgvc-zoo`."""
    return _client


@pytest.fixture
def repo_id(request):
    """A repository of this test's own, so that nothing of it is in the cache."""
    return f"tester/{re.sub('[^a-z0-9]+', '-', request.node.name.lower()).strip('-')}"


@pytest.fixture(scope='session')
def _measured(_client, run_folder, photos, tmp_path_factory):
    folder = shutil.copytree(run_folder, tmp_path_factory.mktemp('measured') / 'run')  # other tests want one without a result
    outcome = _client('evaluate', folder, '--data', f'folder:{photos}', '--workers', 0, '--json', folder / 'result.json')
    assert outcome.status == 0, outcome.err
    return folder


@pytest.fixture
def run(_measured, tmp_path):
    """A run folder with its result file, which the test may change."""
    return shutil.copytree(_measured, tmp_path / 'run')


@pytest.fixture
def publish(client, run, repo_id):
    """Publish the run; further arguments are those of `fgvc-zoo publish`."""
    def call(*argv: object, source: Path = run, **env: str) -> Outcome:
        return client('publish', source, repo_id, '--license', 'MIT', *argv, **env)
    return call
