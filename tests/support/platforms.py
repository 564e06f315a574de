"""Finds code that would fail on another system, by reading the source.

Which names of the standard library a system lacks is what typeshed says, as it comes with mypy: its stubs hold
``if sys.platform != "win32":`` wherever the library's documentation says "Availability: Unix".
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

SOURCES = (ROOT / "server", ROOT / "tools")

_FOUND = importlib.util.find_spec("mypy")
assert _FOUND is not None
assert _FOUND.origin is not None
STUBS = Path(_FOUND.origin).parent / "typeshed" / "stdlib"

ARGUMENTS = {
    "dir_fd": "opens relative to a folder",
    "src_dir_fd": "opens relative to a folder",
    "dst_dir_fd": "opens relative to a folder",
    "preexec_fn": "forks",
    "pass_fds": "passes descriptors on",
    "start_new_session": "makes a POSIX session",
    "process_group": "makes a POSIX process group",
    "extra_groups": "changes the user",
    "reuse_port": "shares a port",
}
"""Keyword arguments that raise, or do nothing, on Windows."""

METHODS = {
    "add_signal_handler": "Windows' event loop has none",
    "remove_signal_handler": "Windows' event loop has none",
    "open_signal_receiver": "anyio's needs the event loop's signal handlers",
    "rename": "refuses on Windows what it replaces elsewhere: use replace()",
    "owner": "Windows' files have none",
    "group": "Windows' files have none",
}
"""Methods and functions that fail on Windows without the stubs saying so."""

_TEXT = {"read_text", "write_text", "open"}
_UNIX_PATH = re.compile(r"/(tmp|proc|etc|dev|usr|var|sys|run)(/|$)")
_NO_FORMAT = re.compile(r"%[-#_^]\w|%[sPkl]")
_LEFT_BY = (ast.Return, ast.Raise, ast.Continue, ast.Break)


class System(NamedTuple):
    """One that the code may run on. Without a version of Python, it is any of them."""

    platform: str
    version: tuple[int, int] | None = sys.version_info[:2]

    @property
    def os_name(self) -> str:
        return "nt" if self.platform == "win32" else "posix"


class Finding(NamedTuple):
    """Code that another system does not know."""

    file: str
    function: str
    what: str


@functools.cache
def names(module: str, system: System) -> frozenset[str]:
    """The names that a module has on a system; none where there is no such module."""
    tree = _stub(module)
    present: set[str] = set()
    for node in _live(tree.body, system):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                present.add(node.name)
            case ast.AnnAssign(target=ast.Name(id=name)):
                present.add(name)
            case ast.Assign():
                present |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            case ast.ImportFrom(module=str(source), level=level) if level == 0 or node.names[0].name == "*":
                inner = f"{module}.{source}" if level else source
                if node.names[0].name == "*":
                    present |= names(inner, system)
                else:
                    present |= {alias.asname for alias in node.names if alias.asname}
    return frozenset(name for name in present if not name.startswith("_"))


@functools.cache
def lacking(module: str, platform: str) -> frozenset[str]:
    """The names of a module that this Python has on Linux and not on ``platform``."""
    return names(module, System("linux")) - names(module, System(platform))


@functools.cache
def is_missing(module: str, platform: str) -> bool:
    """Whether a module of the standard library is not on ``platform`` at all."""
    is_standard = module in sys.stdlib_module_names and _place(module) is not None
    return is_standard and bool(lacking(module, platform)) and not names(module, System(platform))


def scan(source: str, file: str, system: System, at_import: bool = False) -> list[Finding]:
    """What of ``source`` is reached on ``system``, and is not there.

    Args:
        at_import: Leave out the bodies of functions, which an import does not reach.
    """
    return sorted(_Scan(file, system, at_import).of(ast.parse(source)))


def scan_all(systems: Iterable[System], *folders: Path, at_import: bool = False) -> Iterator[tuple[System, Finding]]:
    """:func:`scan` of every module in ``folders`` on each system, their names as paths in the project."""
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for system in systems:
            findings = _Scan(path.relative_to(ROOT).as_posix(), system, at_import).of(tree)
            yield from ((system, finding) for finding in findings)


class _Scan:
    def __init__(self, file: str, system: System, at_import: bool) -> None:
        self._file = file
        self._system = system
        self._at_import = at_import
        self._modules: dict[str, str] = {}

    def of(self, tree: ast.Module) -> set[Finding]:
        return {Finding(self._file, function, what) for function, what in self._block(tree.body, "")}

    def _block(self, block: Iterable[ast.stmt], function: str) -> Iterator[tuple[str, str]]:
        for statement in _live(block, self._system):
            inner = function
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{function}.{statement.name}".lstrip(".")
            if isinstance(statement, ast.Import | ast.ImportFrom):
                yield from ((inner, what) for what in self._imports(statement))
            for field, value in ast.iter_fields(statement):
                if (
                    self._at_import
                    and field == "body"
                    and isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
                ):
                    continue
                for part in value if isinstance(value, list) else [value]:
                    if isinstance(part, ast.ExceptHandler | ast.match_case):
                        yield from self._block(part.body, inner)
                    elif isinstance(part, ast.AST) and not isinstance(part, ast.stmt):
                        yield from ((inner, what) for what in self._expression(part))
                if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                    yield from self._block(value, inner)

    def _imports(self, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                self._modules[alias.asname or alias.name.partition(".")[0]] = alias.name
                if is_missing(alias.name, self._system.platform):
                    yield alias.name
        elif node.level == 0 and node.module in sys.stdlib_module_names:
            if is_missing(node.module, self._system.platform):
                yield node.module
            else:
                yield from (
                    f"{node.module}.{alias.name}" for alias in node.names if self._is_lacking(node.module, alias.name)
                )

    def _is_lacking(self, module: str, name: str) -> bool:
        return _place(module) is not None and name in lacking(module, self._system.platform)

    def _expression(self, node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Name() | ast.expr_context():
                return
            case ast.IfExp():
                sure = _truth(node.test, self._system)
                yield from self._expression(node.test)
                yield from () if sure is False else self._expression(node.body)
                yield from () if sure is True else self._expression(node.orelse)
                return
            case ast.BoolOp():
                stop = isinstance(node.op, ast.Or)
                for value in node.values:
                    yield from self._expression(value)
                    if _truth(value, self._system) is stop:
                        return
                return
            case ast.Attribute(value=ast.Name(id=name)) if name in self._modules:
                if self._is_lacking(self._modules[name], node.attr):
                    yield f"{self._modules[name]}.{node.attr}"
            case ast.Call():
                yield from self._call(node)
            case ast.Constant(value=str(text)) if _UNIX_PATH.match(text):
                yield text
        for child in ast.iter_child_nodes(node):
            yield from self._expression(child)

    def _call(self, node: ast.Call) -> Iterator[str]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        keywords = {keyword.arg for keyword in node.keywords}
        if self._system.platform == "win32":
            yield from (f"{keyword}=" for keyword in sorted(filter(None, keywords)) if keyword in ARGUMENTS)
            if name in METHODS and not (name == "group" and (node.args or _is_match(node.func))):
                yield f"{name}()"
        constants = [part.value for part in node.args if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        if name == "strftime" and any(_NO_FORMAT.search(text) for text in constants):
            yield "strftime()"
        if name in _TEXT and "encoding" not in keywords and _is_text(node, name):
            yield f"{name}() without an encoding"


def _is_match(function: ast.expr) -> bool:
    """Whether it is a match of a regular expression that is asked for a group."""
    return isinstance(function, ast.Attribute) and "match" in ast.unparse(function.value)


def _is_text(node: ast.Call, name: str) -> bool:
    """Whether a call is one that reads or writes text."""
    owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else None
    if name != "open":
        return len(node.args) < (1 if name == "read_text" else 2)
    if owner in ("os", "Image"):
        return False
    given = node.args[1 if owner is None else 0 :][:1] + [word.value for word in node.keywords if word.arg == "mode"]
    mode = given[0] if given else ast.Constant("r" if owner is None else "")
    text = mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else ""
    return bool(re.fullmatch(r"[rwxat+]{1,3}", text))


@functools.cache
def _stub(module: str) -> ast.Module:
    path = _place(module)
    assert path is not None, module
    return ast.parse(path.read_text("utf-8"))


@functools.cache
def _place(module: str) -> Path | None:
    place = STUBS / module.replace(".", "/")
    return next((path for path in (place / "__init__.pyi", place.with_suffix(".pyi")) if path.exists()), None)


def _live(block: Iterable[ast.stmt], system: System) -> Iterator[ast.stmt]:
    """The statements that can be reached; of an ``if`` on the system, only the branch that it takes."""
    for statement in block:
        if not isinstance(statement, ast.If):
            yield statement
            if isinstance(statement, _LEFT_BY):
                return
            continue
        sure = _truth(statement.test, system)
        yield ast.If(statement.test, [], [])
        for certain, branch in ((False, statement.body), (True, statement.orelse)):
            if sure is not certain:
                yield from _live(branch, system)
                if sure is not None and branch and isinstance(branch[-1], _LEFT_BY):
                    return


def _truth(test: ast.expr, system: System) -> bool | None:
    """What a condition is on a system; None where the system does not decide it."""
    match test:
        case ast.BoolOp():
            values = [_truth(value, system) for value in test.values]
            stop = isinstance(test.op, ast.Or)
            return stop if stop in values else None if None in values else not stop
        case ast.UnaryOp(op=ast.Not()):
            value = _truth(test.operand, system)
            return None if value is None else not value
        case ast.Call(func=ast.Name(id="hasattr"), args=[ast.Name(id=module), ast.Constant(value=str(name))]):
            return None if _place(module) is None else name in names(module, system)
        case ast.Call(func=ast.Attribute(value=subject, attr="startswith"), args=[ast.Constant(value=str(text))]):
            return system.platform.startswith(text) if ast.unparse(subject) == "sys.platform" else None
        case ast.Compare(left=left, ops=[operation], comparators=[right]):
            return _compared(ast.unparse(left), operation, right, system)
        case _:
            return None


def _compared(left: str, operation: ast.cmpop, right: ast.expr, system: System) -> bool | None:
    facts = {"sys.platform": system.platform, "os.name": system.os_name, "sys.version_info": system.version}
    if facts.get(left) is None:
        return None
    try:
        wanted = ast.literal_eval(right)
    except ValueError:
        return None
    match operation:
        case ast.Eq():
            return bool(facts[left] == wanted)
        case ast.NotEq():
            return bool(facts[left] != wanted)
        case ast.In():
            return facts[left] in wanted
        case ast.GtE() if system.version is not None:
            return bool(system.version >= wanted)
        case ast.Lt() if system.version is not None:
            return bool(system.version < wanted)
        case _:
            return None
