"""Windows and macOS, none of which is at hand: the code is read as they would run it, and run as on them."""

from __future__ import annotations

import ntpath
import os
import urllib.request
import warnings
from pathlib import PureWindowsPath
from types import SimpleNamespace

import pytest

from nano_banana_mcp.images.local import local_files
from nano_banana_mcp.images.local.windows_paths import is_pointer, is_special
from tests.support.paths import ROOT
from tests.support.platforms import SOURCES, Finding, System, is_missing, lacking, scan, scan_all

pytestmark = pytest.mark.slow

SYSTEMS = [System(platform, version=None) for platform in ("win32", "darwin")]

FONT = "a font that is looked for among others, and done without; theirs are in the same list"
EXCEPTIONS = {
    (
        "server/nano_banana_mcp/app.py",
        "_exit_on_signal",
        "open_signal_receiver()",
    ): "started only where it is no Windows",
    (
        "server/nano_banana_mcp/images/saving/output_folder.py",
        "_rename_to_new",
        "rename()",
    ): "on Windows alone, for that it refuses",
    (
        "server/nano_banana_mcp/images/local/local_files.py",
        "_open_below",
        "dir_fd=",
    ): "called only where os.supports_dir_fd",
    (
        "server/nano_banana_mcp/images/local/local_files.py",
        "_spelling",
        "dir_fd=",
    ): "gets a descriptor only where os.supports_dir_fd",
}
"""What the scan finds and is right nevertheless, and why."""


def excused(finding: Finding) -> bool:
    return finding in EXCEPTIONS or (
        finding.file.endswith("/drawing.py") and finding.what.startswith("/usr/share/fonts/")
    )


def test_nothing_is_called_that_a_system_does_not_have_and_no_exception_outlives_its_reason() -> None:
    findings = set(scan_all(SYSTEMS, *SOURCES))
    assert [(str(system), finding) for system, finding in sorted(findings) if not excused(finding)] == []
    assert set(EXCEPTIONS) <= {finding for _, finding in findings}


def test_the_tests_can_be_collected_on_every_system() -> None:
    no_tests = "tests/lab/benchmarks/"  # and some say that they need Linux
    assert [
        (str(system), finding)
        for system, finding in scan_all(SYSTEMS, ROOT / "tests", at_import=True)
        if finding.what[0] != "/" and "encoding" not in finding.what and not finding.file.startswith(no_tests)
    ] == []


def test_names_that_a_system_lacks_are_read_from_the_standard_librarys_stubs() -> None:
    assert all(is_missing(name, "win32") for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty"))
    assert not is_missing("fcntl", "darwin")
    assert {"fork", "geteuid", "getuid", "mkfifo", "chown", "O_NOFOLLOW", "O_DIRECTORY"} <= lacking("os", "win32")
    assert {"SIGKILL", "SIGHUP", "SIGUSR1"} <= lacking("signal", "win32")
    assert {"AF_UNIX", "SO_REUSEPORT"} <= lacking("socket", "win32")
    assert {"memfd_create", "pipe2", "O_PATH"} <= lacking("os", "darwin")
    assert "replace" not in lacking("os", "win32")
    assert "fork" not in lacking("os", "darwin")


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("import fcntl", "fcntl"),
        ("def f():\n    from pwd import getpwnam", "pwd"),
        ("import os\nos.getuid()", "os.getuid"),
        ("import os as system\nsystem.fork()", "os.fork"),
        ("from os import mkfifo", "os.mkfifo"),
        ("import signal\nENDS = {1: signal.SIGHUP}", "signal.SIGHUP"),
        ("import os, sys\nif sys.platform == 'win32':\n    os.getuid()", "os.getuid"),
        ("import os, sys\nif sys.platform == 'linux':\n    pass\nelse:\n    os.getuid()", "os.getuid"),
        (
            "import os, sys\ndef f():\n    if sys.platform != 'win32':\n        return 1\n    return os.getuid()",
            "os.getuid",
        ),
        ("import os\ntry:\n    os.getuid()\nexcept OSError:\n    pass", "os.getuid"),
        ("import os\nwith open('a', 'rb'):\n    os.getuid()", "os.getuid"),
        ("import os\nmatch 1:\n    case 1:\n        os.getuid()", "os.getuid"),
        ("import os\nlambda: [os.getuid() for _ in ()]", "os.getuid"),
        ("import socket\ndef f(kind=socket.AF_UNIX): ...", "socket.AF_UNIX"),
        ("run(preexec_fn=None)", "preexec_fn="),
        ("loop.add_signal_handler(2, print)", "add_signal_handler()"),
        ("a.rename(b)", "rename()"),
        ("now.strftime('%-d %b')", "strftime()"),
        ("path.read_text()", "read_text() without an encoding"),
        ("open('a')", "open() without an encoding"),
        ("HERE = '/tmp/x'", "/tmp/x"),
    ],
)
def test_the_scan_finds(code: str, what: str) -> None:
    assert [finding.what for finding in scan(code, "x.py", System("win32"))] == [what]


@pytest.mark.parametrize(
    "code",
    [
        "import os\ngetattr(os, 'O_NOFOLLOW', 0)",
        "import os\nif hasattr(os, 'getuid'):\n    os.getuid()",
        "import os\nhasattr(os, 'getuid') and os.getuid()",
        "import os, sys\nsys.platform == 'win32' or os.getuid()",
        "import os\n0 if os.name == 'nt' else os.getuid()",
        "import os, sys\nif sys.platform != 'win32' and os.getuid() == 0:\n    os.chown('a', 0, 0)",
        "import sys\ndef f():\n    if sys.platform == 'win32':\n        return\n    import resource",
        "import os\na.replace(b)\nmatch.group('x')\npath.read_text('utf-8')\nopen('a', 'rb')\nos.open('a', 0)",
    ],
)
def test_the_scan_recognises_a_guard(code: str) -> None:
    assert scan(code, "x.py", System("win32")) == []


@pytest.mark.parametrize("test", ["sys.version_info < (3, 12)", "sys.version_info >= (3, 12)"])
def test_the_scan_reads_what_any_version_of_python_runs(test: str) -> None:
    code = f"import os, sys\nif {test}:\n    os.getuid()"
    assert [finding.what for finding in scan(code, "x.py", System("win32", version=None))] == ["os.getuid"]
    found = [scan(code, "x.py", System("win32", version)) for version in ((3, 11), (3, 14))]
    assert sorted(map(len, found)) == [0, 1]


@pytest.mark.parametrize("drive", ["C:", "c%3A", "c%3a"])
def test_a_uri_names_a_drive_in_either_way(drive: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # from Python 3.14 on
        import nturl2path  # what Windows has under the other name
    monkeypatch.setattr(urllib.request, "url2pathname", nturl2path.url2pathname)  # type: ignore[deprecated]
    monkeypatch.setattr(local_files, "os", SimpleNamespace(name="nt", path=ntpath, fsencode=os.fsencode))
    path = local_files.path_of(f"file:///{drive}/%ED%95%9C%20a.png")
    # The same to Windows: Python 3.14 leaves the letter as it was written.
    assert path in {f"{letter}:\\한 a.png" for letter in (drive[0], drive[0].upper())}
    with pytest.raises(local_files.FileRefused) as refused:
        local_files.path_of("cat.png")
    assert "C:/folder/cat.png or file:///C:/folder/cat.png" in refused.value.hint


@pytest.mark.parametrize(
    ("mode", "tag", "pointer"),
    [
        (0o120777, 0xA000000C, True),  # a symbolic link
        (0o040777, 0xA0000003, True),  # a junction
        (0o100666, 0xA000001D, True),  # a link of WSL
        (0o100666, 0x9000001A, False),  # a file that a cloud drive holds
        (0o100666, 0x80000013, False),  # a file whose like is stored once
        (0o100666, 0, False),
    ],
)
def test_on_windows_a_pointer_to_another_path_is_distinguished_from_a_file_in_other_storage(
    mode: int, tag: int, pointer: bool
) -> None:
    assert is_pointer(SimpleNamespace(st_mode=mode, st_reparse_tag=tag)) is pointer  # type: ignore[arg-type]  # two fields of it


NAMES = [
    "nul",
    "NUL.png",
    "nul .png",
    "com1",
    "COM¹.png",
    "lpt9.tar.gz",
    "conin$",
    "a.png:b",
    "a.png.",
    "a.png ",
    "aux",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_windows_reserves_is_no_file_name(name: str) -> None:
    assert is_special(name)


@pytest.mark.parametrize(
    "name", ["cat.png", "null.png", "com.png", "com10.png", "console.png", ".hidden", "새벽 등대.png"]
)
def test_other_names_are_not_special_on_windows(name: str) -> None:
    assert not is_special(name)


@pytest.mark.skipif(not hasattr(ntpath, "isreserved"), reason="Python 3.13 knows them itself")
@pytest.mark.parametrize("name", NAMES)
def test_python_reserves_the_same_names(name: str) -> None:
    assert ntpath.isreserved(name)  # type: ignore[attr-defined, unused-ignore]  # from 3.13 on


@pytest.mark.parametrize(
    ("path", "way"),
    [
        ("c:\\users\\ME\\Pictures\\Sub\\Cat.png", ("Sub", "Cat.png")),
        ("C:/Users/me/pictures/cat.png", ("cat.png",)),
        ("C:\\Users\\me\\Pictures", ()),
        ("C:\\Users\\me\\Pictures-evil\\cat.png", ()),
        ("D:\\Users\\me\\Pictures\\cat.png", ()),
        ("\\\\?\\C:\\Users\\me\\Pictures\\cat.png", ()),
        ("\\\\host\\share\\Users\\me\\Pictures\\cat.png", ()),
    ],
)
def test_a_path_in_an_allowed_folder_is_recognised_by_the_rules_of_windows(path: str, way: tuple[str, ...]) -> None:
    assert local_files._components_below(PureWindowsPath(path), PureWindowsPath("C:\\Users\\me\\Pictures")) == way
