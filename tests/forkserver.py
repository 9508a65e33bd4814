"""A `python -m` that starts at once: the libraries are imported beforehand, and every program is a fork of that.

In small, importing them takes ten times as long as all that a stage does. A program is a process all the same, in its
own folder, with that folder's `nnlib` and `stages`, and it ends with the `python` that asked for it.

    python forkserver.py SOCKET PROCESS       serve, until that process ends
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import marshal
import os
import pickle
import runpy
import select
import signal
import socket
import sys
import traceback
import weakref
from pathlib import Path
from typing import NamedTuple

LIBRARIES = """celery.worker distributed dulwich.porcelain dvc.cli dvc.cli.parser dvc.commands.experiments.run
    dvc.commands.repro dvc.repo dvc.repo.experiments.queue.celery dvc.repo.plots dvc_task.worker hydra.core jinja2
    lazy_loader matplotlib.backends.backend_svg matplotlib.figure numba numpy pandas psutil pydantic pygit2 pytest
    rich.console rich.table ruamel.yaml safetensors.torch scipy.stats torch tqdm"""
# Nothing but what Python has built in, since all else takes longer to import than this has to do.
CLIENT = """#!{python} -IS
import _socket, marshal, posix, sys
server = _socket.socket(_socket.AF_UNIX)
server.connect({address!r})
job = marshal.dumps([{module} + sys.argv[1:], posix.getcwd(), posix.environ])
files = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(n.to_bytes(4, sys.byteorder) for n in range(3)))]
server.sendmsg([len(job).to_bytes(8, "big")], files)
server.sendall(job)
status = int(server.recv(16) or b"1")
posix.kill(posix.getpid(), -status) if status < 0 else sys.exit(status)
"""


def write_client(folder: Path, address: Path) -> None:
    """Put a `python` into the folder that hands its arguments to the server, and ends as the program ends; and a `dvc`,
    by which name DVC calls the workers of its queue."""
    for name, module in {"python": [], "dvc": ["-m", "dvc"]}.items():
        client = folder / name
        client.write_text(CLIENT.format(python=sys.executable, address=str(address), module=module))
        client.chmod(0o755)


def serve(address: str, process: str) -> None:
    over = os.pidfd_open(int(process))
    for name in LIBRARIES.split():
        importlib.import_module(name)
    # The first function that Numba sees, or model that pydantic does, makes it import as much again.
    sys.modules["numba"].njit(lambda: None)()
    sys.modules["pydantic"].create_model("Model")
    take_yaml_quickly()
    # What is here stays: no program's garbage collector goes through it, which would copy it, and none cleans it up.
    gc.freeze()
    for finalizer in list(weakref.finalize._registry):
        finalizer.atexit = False
    running: list[Program] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            watched = [listener, over, *(file for program in running for file in (program.client, program.ended))]
            ready = select.select(watched, [], [])[0]
            if over in ready:
                break
            ended = [program for program in running if program.client in ready or program.ended in ready]
            for program in ended:
                end(program)
            running = [program for program in running if program not in ended]
            if listener in ready:
                client, _ = listener.accept()
                with contextlib.suppress(EOFError, ConnectionError):  # the client was killed before it had asked
                    running.append(start(client))
    for program in running:
        end(program)


def take_yaml_quickly() -> None:
    """Nearly half of DVC's own time goes into YAML: it parses the same few texts again and again, and reads and writes
    dvc.lock for every stage. Here a text is parsed once, and dvc.lock is written as JSON, which is YAML as well."""
    yaml, strict = map(importlib.import_module, ("dvc.utils.serialize._yaml", "dvc.utils.strictyaml"))
    parse, write = yaml.parse_yaml, yaml._dump

    @functools.lru_cache
    def parsed(text, path):
        return pickle.dumps(parse(text, path))

    def parse_quickly(text, path, typ="safe"):
        if Path(path).name == "dvc.lock":
            with contextlib.suppress(ValueError):  # it is not of this function's making
                return json.loads(text)
        return pickle.loads(parsed(text, path)) if typ == "safe" else parse(text, path, typ)

    def write_quickly(data, stream):
        lock = str(getattr(stream, "name", "")).endswith("dvc.lock")
        return json.dump(data, stream, indent=1) if lock else write(data, stream)

    yaml.parse_yaml = strict.parse_yaml = parse_quickly
    yaml._dump = write_quickly


class Program(NamedTuple):
    process: int
    ended: int  # a file that can be read when the process has ended
    client: socket.socket  # says no more: it can be read when the client is gone


def start(client: socket.socket) -> Program:
    """Fork the program that the client asks for."""
    length, files, *_ = socket.recv_fds(client, 8, 3)
    with client.makefile("rb") as stream:
        arguments, folder, environment = marshal.loads(stream.read(int.from_bytes(length, "big")))
    process = os.fork()
    if not process:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        client.close()
        os._exit(run(arguments, folder, environment))
    for file in files:
        os.close(file)
    return Program(process, os.pidfd_open(process), client)


def end(program: Program) -> None:
    """Tell the client how its program ended; that of a client that is gone is killed."""
    if not select.select([program.ended], [], [], 0)[0]:
        os.kill(program.process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(program.process, 0)[1])
    with contextlib.suppress(ConnectionError):
        program.client.sendall(str(status).encode())
    program.client.close()
    os.close(program.ended)


def run(arguments: list[str], folder: str, environment: dict[bytes, bytes]) -> int:
    """Run `python ARGUMENTS`, which must be -m and a module, as its main program; its exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environb.update(environment)
    sys.path[:1] = [folder, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    # The server's streams remember what the server's files were.
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    option, *sys.argv = arguments
    assert option == "-m", f"only -m MODULE is served, got {arguments}"
    # DVC's own process runs no line that is counted; watched, it would take three times as long.
    counted = any(value and name.startswith("COVERAGE_PROCESS") for name, value in os.environ.items())
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
    serve(*sys.argv[1:])
