"""Configuration files as people, editors and accidents leave them. TABLE stands for the host's own name."""

from __future__ import annotations

import json
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Case:
    """A file, and where it is at fault: at a line, or nowhere (0: whatever line)."""

    name: str
    data: bytes
    fault: int | None = None


def _case(name: str, text: str, fault: int | None = None) -> Case:
    return Case(name, text.encode(), fault)


_OTHERS = """{
  "TABLE": {
    "files": {
      "command": "npx",
      "args": ["-y", "@scope/files", "/home/me"],
      "env": { "API_KEY": "sk-neighbour-0001" }
    }
  },
  "theme": "dark"
}
"""

JSON = [
    _case("empty", ""),
    _case("only blanks", " \n\t\n"),
    _case("only a comment", "// nothing yet\n"),
    _case("empty object", "{}"),
    _case("empty object in lines", "{\n}\n"),
    _case("empty object with a comment", "{\n  // add servers here\n}\n"),
    _case("other settings", '{\n  "theme": "dark",\n  "fontSize": 14\n}\n'),
    _case("other servers", _OTHERS),
    _case("no line end at the end", _OTHERS.rstrip()),
    _case("four blanks", _OTHERS.replace("  ", "    ")),
    _case("tabs", _OTHERS.replace("  ", "\t")),
    _case("one line", json.dumps(json.loads(_OTHERS))),
    _case("minified", json.dumps(json.loads(_OTHERS), separators=(",", ":"))),
    Case("windows", _OTHERS.replace("\n", "\r\n").encode()),
    Case("byte order mark", BOM + _OTHERS.encode()),
    Case("byte order mark on windows", BOM + _OTHERS.replace("\n", "\r\n").encode()),
    Case("byte order mark alone", BOM),
    _case("empty table", '{\n  "TABLE": {}\n}\n'),
    _case("empty table in lines", '{\n  "TABLE": {\n  },\n  "a": 1\n}\n'),
    _case("table with a comment", '{\n  "TABLE": {\n    // none yet\n  }\n}\n'),
    _case("table is null", '{\n  "TABLE": null,\n  "a": 1\n}\n'),
    _case("trailing commas", '{\n  "TABLE": {\n    "x": {"command": "y",},\n  },\n}\n'),
    _case("trailing comma and comment", '{\n  "TABLE": {\n    "x": {"command": "y"}, // why\n    /* z */\n  },\n}\n'),
    _case("comment after the last server", '{\n  "TABLE": {\n    "x": {"command": "y"} // why\n  }\n}\n'),
    _case("comments everywhere", '/*a*/{/*b*/"TABLE"/*c*/:/*d*/{/*e*/"x"/*f*/:/*g*/{}/*h*/}/*i*/}/*j*/'),
    _case("block comment of many lines", '{\n  "a": 1 /* one\n  two // three\n  */\n}\n'),
    _case("comment-like strings", '{"a": "// no", "b": "/* no */", "TABLE": {"x": {"command": "http://h//p"}}}\n'),
    _case("escapes and unicode", '{"k\\u00e9y": "\\\\\\"/\\ud83d\\ude00", "이름": "그림 🍌", "TABLE": {}}\n'),
    _case("numbers", '{"a": 1.50, "b": -0, "c": 1e400, "d": 12345678901234567890123, "TABLE": {}}\n'),
    _case("deep", '{"d": ' + "[" * 150 + "]" * 150 + "}\n"),
    _case("twice elsewhere", '{\n  "a": 1,\n  "a": 2,\n  "TABLE": {}\n}\n'),
    _case("table inside others", '{\n  "profiles": {\n    "TABLE": {"x": {}}\n  }\n}\n'),
    _case("brace on a line of its own", '{\n  "TABLE":\n  {\n    "x":\n    {\n    }\n  }\n}\n'),
    _case("inline table among lines", '{\n  "TABLE": {"x": {"command": "y"}},\n  "a": 1\n}\n'),
    _case("mixed line ends", '{\r\n  "a": 1,\n  "TABLE": {\r\n    "x": {}\n  }\r\n}\r\n'),
    _case(
        "long file",
        '{\n  "TABLE": {"x": {}},\n  "h": [\n' + '    "line of history",\n' * 2_000 + '    "end"\n  ]\n}\n',
    ),
    _case("never closed", '{\n  "TABLE": {\n    "x": {}\n', 4),
    _case("cut inside a string", '{\n  "a": "b\n}\n', 2),
    _case("missing comma", '{\n  "a": 1\n  "b": 2\n}\n', 3),
    _case("missing colon", '{\n  "a" 1\n}\n', 2),
    _case("single quotes", "{\n  'a': 1\n}\n", 2),
    _case("bare name", "{\n  a: 1\n}\n", 2),
    _case("two values", "{}\n{}\n", 2),
    _case("comment never closed", '{\n  "a": 1 /* …\n}\n', 2),
    _case("bad escape", '{"a": "\\x"}', 1),
    _case("python words", '{"a": True}', 1),
    _case("root is a list", "[]\n", 1),
    _case("root is a word", '\n"TABLE"\n', 2),
    _case("root is null", "null\n", 1),
    _case("table is a list", '{\n  "TABLE": []\n}\n', 2),
    _case("table is a text", '{\n  "TABLE": "x"\n}\n', 2),
    _case("table twice", '{\n  "TABLE": {},\n  "a": 1,\n  "TABLE": {}\n}\n', 4),
    _case("too deep", '{"d": ' + "[" * 5_000 + "]" * 5_000 + "}\n", 1),
    Case("latin-1", '{\n  "a": "é"\n}\n'.encode("latin-1"), 2),
    Case("utf-16", '{"a": 1}\n'.encode("utf-16"), 1),
    _case("zero byte", '{"a": 1}\x00', 1),
]

_TOML = """# Settings
model = "o5"
approval = 'never'   # really

[TABLE.files]
command = "npx"
args = [
  "-y", # yes
  "@scope/files",
]
env = { API_KEY = "sk-neighbour-0001" }

[profiles.fast]
model = "mini"
"""

TOML = [
    _case("empty", ""),
    _case("only blanks", "\n  \n"),
    _case("only a comment", "# nothing yet"),
    _case("other settings", 'model = "o5"\n'),
    _case("no line end at the end", 'model = "o5"'),
    _case("other servers", _TOML),
    Case("windows", _TOML.replace("\n", "\r\n").encode()),
    Case("byte order mark", BOM + _TOML.encode()),
    _case("empty lines at the end", _TOML + "\n\n"),
    _case("comment at the end", _TOML + "\n# the end"),
    _case("table by itself", "[TABLE]\n[other]\na = 1\n"),
    _case("dotted keys", 'TABLE.x.command = "y"\nTABLE.x.args = []\n'),
    _case("dotted keys in the table", '[TABLE]\nx.command = "y"\nz = { command = "w" }\n'),
    _case("quoted names", '["TABLE"."a b"]\ncommand = "y"\n[TABLE.\'c.d\']\ncommand = "z"\n'),
    _case("arrays of tables", "[[rules]]\na = 1\n[[rules]]\na = 2\n[[rules.inner]]\nb = 3\n"),
    _case("texts of many lines", 'a = """\n[TABLE.no]\n"""\nb = \'\'\'\n# [TABLE]\n\'\'\'\nc = "]#["\n'),
    _case("subtables", '[TABLE.x]\ncommand = "y"\n[TABLE.x.env]\nA = "1"\n[TABLE.x.tools.z]\non = true\n'),
    _case("dates and numbers", "a = 1979-05-27T07:32:00Z\nb = nan\nc = -inf\nd = 0xFF\ne = 1_000\nf = 07:32:00\n"),
    _case("unicode", 'a = "그림 🍌"\n"이름" = "\\u00e9"\n'),
    _case(
        "table first, settings of another later", '[TABLE.x]\ncommand = "y"\n\n[a]\nb = 1\n\n[TABLE.z]\ncommand = "w"\n'
    ),
    _case("table inline", 'TABLE = { x = { command = "y" } }\n', 1),
    _case("table is a list", "a = 1\n[[TABLE]]\nb = 1\n", 2),
    _case("table is a text", 'a = 1\nTABLE = "x"\n', 2),
    _case("missing value", "a = 1\nb =\n", 2),
    _case("never closed", "a = 1\nb = [1,\n", 3),
    _case("text never closed", 'a = "b\n', 1),
    _case("twice", "a = 1\na = 2\n", 2),
    _case("table twice", "[TABLE.x]\n[TABLE.x]\n", 2),
    _case("no assignment", "hello\n", 1),
    Case("latin-1", 'a = "é"\n'.encode("latin-1"), 1),
    _case("too deep", "a = " + "[" * 5_000 + "]" * 5_000, 0),
]

_YAML = """# Settings
provider: "anthropic"
model: 'opus'   # really

TABLE:
  files:
    enabled: true
    cmd: npx
    args:
    - -y
    - '@scope/files'
    envs: {API_KEY: sk-neighbour-0001}

  # about the other
  other:
    enabled: no
# the end of the list
theme: dark
"""

YAML = [
    _case("empty", ""),
    _case("only blanks", "\n  \n"),
    _case("only a comment", "# nothing yet"),
    _case("a start mark alone", "---\n"),
    _case("other settings", "provider: anthropic\n"),
    _case("no line end at the end", "provider: anthropic"),
    _case("other servers", _YAML),
    Case("windows", _YAML.replace("\n", "\r\n").encode()),
    Case("byte order mark", BOM + _YAML.encode()),
    _case("table at the end", "a: 1\nTABLE:\n  x:\n    cmd: y\n"),
    _case("table at the end without a line end", "TABLE:\n    x:\n        cmd: y"),
    _case("table without a value", "TABLE:\nb: 2\n"),
    _case("table without a value but a comment", "TABLE: # none yet\n# b follows\nb: 2"),
    _case("table is null", "a: 1\nTABLE: null\nb: ~\n"),
    _case("empty table in braces", "TABLE: {}\nb: 2\n"),
    _case("table in braces", "TABLE: {x: {cmd: y}}\nb: 2\n"),
    _case("table in braces of many lines", "TABLE: {\n  x: {cmd: y}, # why\n  z: [1, 2],\n}\n"),
    _case("anchors", "base: &b\n  cmd: y\nTABLE:\n  x: &x\n    <<: *b\n  z: *x\nlast: *b\n"),
    _case("alias as the last server", "base: &b {cmd: y}\nTABLE:\n  x: *b\n"),
    _case(
        "texts of many lines",
        "TABLE:\n  x:\n    cmd: |+\n      # no comment\n\n\n  y:\n    cmd: >-\n      a\n      b\n\nz: |\n  end\n",
    ),
    _case("text of many lines at the end", "TABLE:\n  x:\n    cmd: |+\n      a\n\n\n"),
    _case("quoted names", "\"TABLE\":\n  'x': {cmd: y}\n  ? y\n  : cmd: z\n"),
    _case("start and end marks", "%YAML 1.1\n---\na: 1\n...\n"),
    _case("own tags", "a: !secret b\nTABLE:\n  x: !include x.yaml\n"),
    _case("lists without indentation", "a:\n- 1\n- 2\nTABLE:\n  x:\n    args:\n    - b\n"),
    _case("indented root", "  a: 1\n  b: 2\n"),
    _case("unicode", "이름: 그림 🍌\nTABLE:\n  é: {cmd: y}\n"),
    _case("words that look like others", "a: no\nb: 0o14\nc: 1:30\nd: 2001-01-01\ne: .nan\n"),
    _case(
        "many aliases of aliases",
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(3)),
    ),
    _case("tabs", "TABLE:\n\tx: 1\n", 2),
    _case("two documents", "a: 1\n---\nb: 2\n", 2),
    _case("bad indentation", "a:\n    b: 1\n  c: 2\n", 3),
    _case("never closed", "a: [1, 2\nb: 3\n", 2),
    _case("text never closed", 'a: "b\n', 2),
    _case("unknown alias", "a: 1\nb: *c\n", 2),
    _case("table is a list", "a: 1\nTABLE:\n- x\n", 3),
    _case("table is a text", "TABLE: x\n", 1),
    _case("table twice", "TABLE:\n  x: 1\nTABLE:\n  y: 2\n", 3),
    _case("root is a list", "- a\n", 1),
    _case("root in braces", "{a: 1}\n", 1),
    Case("latin-1", "a: é\n".encode("latin-1"), 1),
    _case("control characters", "a: 1\nb: \x01\n", 2),
    _case("too deep", "a: " + "[" * 300 + "]" * 300, 1),
    _case("too deep, by lines", "".join(" " * level + "a:\n" for level in range(300)), 200),
]

CASES = {"json": JSON, "toml": TOML, "yaml": YAML}
