"""A real PostgreSQL of the tests' own: private, on a Unix socket, gone with them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from tests.support.in_turn import in_turn

PASSWORD = "canary-password"
"""The server does not ask for it; it must appear nowhere."""

_SHARED = "TESTS_POSTGRES"
"""The environment variable with the folder of the server that a run of the tests shares."""

missing: list[str] = []
"""Why there is no PostgreSQL, once a test has looked for one."""


class Cluster:
    """One server. Its files, and its socket, are in ``folder``."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        self._binaries = binaries
        # initdb refuses root.
        self._user = next((name for name in ("postgres", "nobody") if _is_user(name)), None) if _root() else None

    def initialise(self) -> None:
        """Make its files."""
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run("initdb", "-U", "nano", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start it, and return when it can be used."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=400"
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """End it at once, as a crash would, without closing the connections."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def create(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with self.connect(self.url("postgres")) as db:
            db.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://nano:{PASSWORD}@/{database}?host={self.folder}"

    @staticmethod
    def connect(url: str) -> psycopg.Connection:
        """A connection past the ledger."""
        return psycopg.connect(url, autocommit=True, options="-c search_path=nano_banana")

    def _run(self, program: str, *arguments: str) -> None:
        import pwd  # not on Windows, where there is no cluster, but where this module is imported

        ended = subprocess.run(
            [self._binaries / program, "-D", self.folder / "data", *arguments],
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open as long as the server
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if ended.returncode != 0:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed: {log.read_text()[-2_000:] if log.exists() else 'no log'}")


class Frozen:
    """A process that is stopped for the length of the block: it is there, and says nothing."""

    def __init__(self, process: int) -> None:
        self._process = process

    def __enter__(self) -> None:
        os.kill(self._process, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._process, signal.SIGCONT)


class NoPostgres(Exception):
    """There is no PostgreSQL here. The text says why."""


@contextmanager
def running() -> Iterator[Cluster]:
    """A server for the length of the block.

    Raises:
        NoPostgres: there is none.
    """
    with tempfile.TemporaryDirectory(prefix="nano-banana-", ignore_cleanup_errors=True) as folder:
        cluster = _cluster(Path(folder))
        cluster.initialise()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def share() -> Callable[[], None]:
    """Let this process and those that it starts share one server, started by the first test that needs it.

    Returns:
        What stops the server, if there is one.
    """
    folder = Path(tempfile.mkdtemp(prefix="nano-banana-"))
    os.environ[_SHARED] = str(folder)

    def stop() -> None:
        if (folder / "data" / "postmaster.pid").exists():
            _cluster(folder).stop()
        shutil.rmtree(folder, ignore_errors=True)

    return stop


@pytest.fixture(scope="session")
def postgres() -> Cluster:
    """The server that all tests of a run share, in however many processes they are."""
    folder = Path(os.environ[_SHARED])
    try:
        cluster = _cluster(folder)
    except NoPostgres as error:
        _skip(error)
    with in_turn("postgres"):
        started = folder / "started"
        if not started.exists():
            cluster.initialise()
            cluster.start()
            started.touch()
    return cluster


@pytest.fixture
def frail_postgres() -> Iterator[Cluster]:
    """A server that a test may stop and start."""
    try:
        with running() as cluster:
            yield cluster
    except NoPostgres as error:
        _skip(error)


@pytest.fixture
def database(postgres: Cluster) -> str:
    """The URL of a fresh, empty database."""
    return postgres.create()


def _skip(error: NoPostgres) -> NoReturn:
    missing[:] = [str(error)]
    pytest.skip(f"PostgreSQL: {error}")


def _cluster(folder: Path) -> Cluster:
    binaries = _binaries()
    if binaries is None:
        raise NoPostgres("there is no initdb (tests/support/install_postgres.sh installs it, as root on Debian)")
    return Cluster(folder, binaries)


def _binaries() -> Path | None:
    if os.name == "nt":
        return None
    path = shutil.which("initdb")
    # A link in the path may lead away from the programs beside it.
    places = [Path(path).resolve().parent] if path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "pg_ctl").exists()), None)


def _root() -> bool:
    return os.geteuid() == 0


def _is_user(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
