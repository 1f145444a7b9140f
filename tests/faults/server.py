"""Starts `abaco` over and over, each time as a process of its own, forked from one that has the imports behind it.

A run takes 0.5 s instead of 2, which is what makes a sweep of hundreds of points possible. Speaks JSON lines:
``{"start": {...}}`` gives ``{"pid": n}``, ``{"wait": pid}`` gives ``{"code": n}`` (minus the signal, if killed).
One thread only, before every fork: it is checked.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any


def _warm(arguments: list[str]) -> None:
    """One whole run, so that everything is imported."""
    from abaco_loans import cli

    try:
        cli.main(arguments)
    except SystemExit as leave:
        if leave.code:
            raise
    tasks = os.listdir("/proc/self/task")  # noqa: PTH208 # what is counted are no files
    if len(tasks) != 1:
        raise RuntimeError(f"{len(tasks)} threads are left: a fork would not be safe")
    gc.collect()
    gc.freeze()  # children need not look through (and so copy) what is there already


def _child(asked: dict[str, Any]) -> int:
    from abaco_loans import cli

    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(asked["cwd"])
    os.environ.update(asked["environment"])
    os.umask(asked["umask"])
    for name, limit in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if asked["user"] is not None and os.getuid() == 0:
        os.setgroups([])
        os.setgid(asked["user"])
        os.setuid(asked["user"])
    if asked["order"]:
        ctypes.CDLL(None).fault_shim_order(asked["order"].encode())
    try:
        if asked["entry"]:
            sys.path.append(str(Path(__file__).resolve().parents[2]))
            return int(importlib.import_module(asked["entry"]).main(asked["arguments"]))
        cli.main(asked["arguments"])
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else int(bool(leave.code))


def _start(asked: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = _child(asked)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asked = json.loads(sys.stdin.readline())
    _warm(asked["warm"])
    print(json.dumps({"ready": os.getpid()}), file=answers, flush=True)
    # Bytes, unbuffered: a forked child must not hold requests that are read ahead.
    with Path("/dev/fd/0").open("rb", buffering=0) as stream:
        while line := stream.readline():
            asked = json.loads(line)
            if "start" in asked:
                answer = {"pid": _start(asked["start"])}
            else:
                answer = {"code": os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
