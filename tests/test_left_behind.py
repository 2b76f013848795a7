"""Whoever starts processes may be killed in the middle of it: they end with him."""

import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.demo import ROOT

STARTS_A_DEMO = """
import pathlib, sys
from tests.demo import running_demo
with running_demo(pathlib.Path(sys.argv[1])):
    pass
"""
STARTS_THREE = """
import pathlib, sys, time
from sandbox.chain.client import running_chain
from sandbox.orchestrator.client import running_orchestrator
from sandbox.psp.client import running_psp
folder = pathlib.Path(sys.argv[1])
with running_psp(folder), running_chain(folder / "chain") as chain:
    key = chain.accounts["orchestrator"].private_key
    where = {"rpc_url": chain.rpc_url, "controller": chain.controller_address}
    with running_orchestrator(folder / "orchestrator", key=key, **where):
        time.sleep(600)
"""


def left_behind(program: str, folder: Path, *names: str) -> list[psutil.Process]:
    """Who is still alive half a minute after the one who started all of them was killed."""
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 90
        while True:
            family = psutil.Process(parent.pid).children(recursive=True)
            commands = [_command(each) for each in family]
            if all(any(name in command for command in commands) for name in names):
                break
            assert parent.poll() is None
            assert time.monotonic() < deadline, commands
            time.sleep(0.1)
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    for each in alive:
        each.kill()
    return list(alive)


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_a_demo_whose_starter_was_killed_ends_with_all_that_it_started(tmp_path: Path) -> None:
    names = ("sandbox.demo", "sandbox.chain", "sandbox.psp", "postgres")
    assert left_behind(STARTS_A_DEMO, tmp_path, *names) == []


def test_a_chain_a_provider_and_an_orchestrator_end_with_whoever_started_them(tmp_path: Path) -> None:
    names = ("sandbox.chain", "sandbox.psp", "sandbox.orchestrator")
    assert left_behind(STARTS_THREE, tmp_path, *names) == []
