"""A `python -m` that starts at once: the libraries are imported beforehand, and every program is a fork of that.

In small, importing them takes ten times as long as all that a stage does. A program is a process all the same, in its
own folder, with that folder's `nnlib` and `stages`, and it ends with the `python` that asked for it.

    python forkserver.py SOCKET       serve, until standard input ends
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from pathlib import Path

LIBRARIES = """celery.worker distributed dulwich.porcelain dvc.cli dvc.cli.parser dvc.commands.experiments.run
    dvc.commands.repro dvc.repo dvc.repo.experiments.queue.celery dvc.repo.plots dvc_task.worker hydra.core jinja2
    matplotlib.backends.backend_svg matplotlib.figure networkx numba numpy pandas psutil pydantic pygit2 pytest
    rich.console rich.table ruamel.yaml safetensors.torch scipy.stats torch tqdm"""
# Nothing but the standard library's beginning: as little to import as Python can do with.
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    job = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(job).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(job)
    sys.exit(int(server.recv(16) or b"1"))
"""


def write_client(folder: Path, address: Path) -> None:
    """Put a `python` into the folder that hands its arguments to the server, and ends as the program ends."""
    client = folder / "python"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    client.chmod(0o755)


def serve(address: str) -> None:
    for name in LIBRARIES.split():
        importlib.import_module(name)
    # The first function that Numba sees, or model that pydantic does, makes it import as much again.
    sys.modules["numba"].njit(lambda: None)()
    sys.modules["pydantic"].create_model("Model")
    # What is here stays: no program's garbage collector goes through it, which would copy it.
    gc.freeze()
    # Children are nobody's business here: each has a parent of its own, which waits for it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if not os.fork():
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                attend(connection)
            connection.close()


def attend(connection: socket.socket) -> None:
    """Fork the program that a client asks for, tell the client how it ended, and end; a client that is killed takes its
    program along."""
    length, files, *_ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as stream:
        arguments, folder, environment = json.loads(stream.read(int.from_bytes(length, "big")))
    program = os.fork()
    if not program:
        for number, file in enumerate(files):
            os.dup2(file, number)
        connection.close()
        os._exit(run(arguments, folder, environment))
    for file in files:
        os.close(file)
    # The client says no more: its end can be read when it is gone.
    ended = os.pidfd_open(program)
    if connection in select.select([connection, ended], [], [])[0]:
        os.kill(program, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.sendall(str(status).encode())
    os._exit(0)


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    """Run `python ARGUMENTS`, which must be -m and a module, as its main program; its exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    # The server's streams remember what the server's files were.
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    option, *sys.argv = arguments
    assert option == "-m", f"only -m MODULE is served, got {arguments}"
    # DVC's own process runs no line that is counted; watched, it would take three times as long.
    counted = any(value and name.startswith("COVERAGE_PROCESS") for name, value in environment.items())
    if counted and sys.argv[0] != "dvc":
        importlib.import_module("coverage").process_startup()
    status = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
