"""A real PostgreSQL of the tests' own: private, on a Unix socket, gone with them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

PASSWORD = "canary-password"
"""Nobody asks for it; it must appear nowhere."""

missing: list[str] = []
"""Why there is no PostgreSQL, once a test has looked for one."""


class Cluster:
    """One server. Its files, and its socket, are in ``folder``."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder = folder
        self._binaries = binaries
        # initdb refuses root.
        self._user = next((name for name in ("postgres", "nobody") if _is_user(name)), None) if _root() else None
        self._databases = 0
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "-U", "nano", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def start(self) -> None:
        """Start it, and return when it can be used."""
        options = f"-k {self.folder} -c listen_addresses= -c fsync=off -c max_connections=200"
        self._run("pg_ctl", "-w", "-t", "60", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """End it at once, as a crash would: nobody gets to say good-bye."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def create(self) -> str:
        """The URL of a fresh, empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
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
    binaries = _binaries()
    if binaries is None:
        raise NoPostgres("there is no initdb (tests/support/install_postgres.sh installs it, as root on Debian)")
    with tempfile.TemporaryDirectory(prefix="nano-banana-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder), binaries)
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def _or_skip() -> Iterator[Cluster]:
    try:
        with running() as cluster:
            yield cluster
    except NoPostgres as error:
        missing[:] = [str(error)]
        pytest.skip(f"PostgreSQL: {error}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The server that all tests share."""
    yield from _or_skip()


@pytest.fixture
def frail_postgres() -> Iterator[Cluster]:
    """A server that a test may stop and start."""
    yield from _or_skip()


@pytest.fixture
def database(postgres: Cluster) -> str:
    """The URL of a fresh, empty database."""
    return postgres.create()


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
