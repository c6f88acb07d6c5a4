"""Runs `fgvc-zoo` commands and scripts with the real huggingface_hub client, each in a process of its own.

huggingface_hub reads its environment when it is imported, so the client cannot live in the process of the tests. This is the program of one
process that imports everything once (which takes seconds) and then forks for every job (which takes none). It reads one JSON object a line
from standard input, with `argv` (of fgvc-zoo) or `code` (of Python), `env` and `folder`, and answers with the job's process id. A job
leaves `stdout`, `stderr` and, unless it was killed, `status` in its folder.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path


def run(job: dict) -> int:
    """The exit status of a job, in the forked process."""
    import fgvc_zoo_cli

    try:
        if 'argv' in job:
            sys.argv = ['fgvc-zoo', *job['argv']]
            fgvc_zoo_cli.main()
        else:
            exec(job['code'], {'__name__': '__main__'})
    except SystemExit as stop:
        return stop.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    import timm

    import fgvc_zoo.publishing  # noqa: F401

    timm.create_model('wsdan', backbone='test_resnet')  # imports more of torch

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the jobs here
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid:
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = Path(job['folder'])
        for stream, name in ((1, 'stdout'), (2, 'stderr')):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), stream)
        for name, value in job['env'].items():
            if value:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
        status = run(job)
        sys.stdout.flush()
        sys.stderr.flush()
        (folder / 'status.part').write_text(str(status))
        os.rename(folder / 'status.part', folder / 'status')
        os._exit(0)


if __name__ == '__main__':
    main()
