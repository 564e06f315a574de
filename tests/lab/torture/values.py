"""Values for what clients send: right ones by a schema, nearly right ones, and anything at all."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

NEST = 10_000

# Surrogates travel as escapes: see `fuzz_tools.encoded`.
ODD_TEXTS = [
    "",
    " ",
    "\x00",
    "\n\r\t\v\f\x85\u2028\u2029",
    "\ud800",
    "pair the wrong way \udc00\ud800",
    "\U0001f34c" * 40,
    "\u202e\u2066\ufeff\ufffe\uffff",
    "e\u0301" * 100,
    "\U000e0001\U0010ffff",
    "x" * 70_000,
    "\U0001f34c" * 20_000,
    "9" * 5_000,
    "../../../../etc/passwd",
    "/etc/passwd",
    "~/.ssh/id_rsa",
    "~nobody-here/x.png",
    "C:\\Windows\\x.png",
    "\\\\host\\share\\x.png",
    "file:///etc/passwd",
    "file://[::1",
    "http://[::1",
    "http://127.0.0.1:9/x.png",
    "http://127.0.0.1:99999/x.png",
    "https://xn--a.invalid/\u2603?q=\u2603#f",
    "https://" + "a" * 300 + ".invalid/",
    "https://user:secret@pictures.invalid/x.png",
    "https://\u212a.invalid/",
    "data:image/png;base64,AAAA",
    "data:image/png;base64,iVBORw0KGgo=",
    "data:image/png;base64,????",
    "data:text/html,<script>alert(1)</script>",
    "data:,",
    "nanobanana://tasks",
    "nanobanana://tasks/",
    "nanobanana://tasks/x/images/99999999999999999999",
    "nanobanana://tasks/x/images/-1",
    "nanobanana://tasks/%00/images/0",
    "ui://nano-banana/picture.html",
    "ui://",
    "://",
    "null",
    "true",
    "1e999",
    "0x10",
    "NaN",
    "\u0661\u0662",
    "'; DROP TABLE generations; --",
    "%s %n {0} {__class__} ${jndi:x}",
    "a" * 129,
    "-" * 128,
]

TEXTS: SearchStrategy[str] = st.one_of(
    st.sampled_from(ODD_TEXTS), st.text(max_size=40), st.text("ab-_.:/", max_size=70)
)
NUMBERS: SearchStrategy[Any] = st.one_of(
    st.integers(-5, 300),
    st.sampled_from([2**31, -(2**31), 2**53 + 1, 2**63, 2**64, -(2**64), 10**300, 0.5, -0.0, 1e308, 5e-324, 44.999]),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS: SearchStrategy[Any] = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)


def _deep(depth: int) -> Any:
    value: Any = None
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


DEEP = _deep(60)
ANYTHING: SearchStrategy[Any] = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.dictionaries(TEXTS, SCALARS, max_size=3),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from([DEEP, [[]] * 300, {str(number): number for number in range(300)}, [None] * 5_000]),
)


def by(schema: dict[str, Any], samples: dict[str, SearchStrategy[Any]], name: str = "") -> SearchStrategy[Any]:
    """What a JSON schema allows, and for some names what means something.

    Args:
        known: By the name of a property: values that lead somewhere.
    """
    match schema.get("type"):
        case "object":
            required = schema.get("required", [])
            parts = {key: by(item, samples, key) for key, item in schema.get("properties", {}).items()}
            return st.fixed_dictionaries(
                {key: part for key, part in parts.items() if key in required},
                optional={key: part for key, part in parts.items() if key not in required},
            )
        case "array":
            return st.lists(by(schema["items"], samples, name), max_size=schema.get("maxItems", 3))
        case "integer":
            return (
                samples[name]
                if name in samples
                else st.integers(schema.get("minimum", -3), schema.get("maximum", 2_000))
            )
        case "number":
            return (
                samples[name] if name in samples else st.floats(schema.get("minimum", -3), schema.get("maximum", 2_000))
            )
        case "boolean":
            return st.booleans()
        case "string":
            return mostly(samples[name]) if name in samples else TEXTS
        case _:
            return ANYTHING


@st.composite
def spoiled(draw: st.DrawFn, right: SearchStrategy[dict[str, Any]]) -> dict[str, Any]:
    """A right object with one thing wrong."""
    value = dict(draw(right))
    keys = sorted(value)
    wrong: bool = draw(st.booleans())
    if keys and wrong:
        key: str = draw(st.sampled_from(keys))
        match draw(st.integers(0, 3)):
            case 0:
                del value[key]
            case 1:
                value[key[:-1] + key[-1].upper()] = value.pop(key)
            case 2:
                value[key] = [value[key]]
            case _:
                value[key] = draw(ANYTHING)
    else:
        value[draw(TEXTS)] = draw(ANYTHING)
    return value


@st.composite
def tried(draw: st.DrawFn, right: SearchStrategy[dict[str, Any]]) -> Any:
    """Right, nearly right, or anything, weighted so that all of them get past the first checks."""
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2 | 3:
            return draw(right)
        case 4 | 5 | 6 | 7:
            return draw(spoiled(right))
        case 8:
            return draw(st.dictionaries(TEXTS, ANYTHING, max_size=3))
        case _:
            return draw(ANYTHING)


@st.composite
def mostly(draw: st.DrawFn, right: SearchStrategy[Any]) -> Any:
    """What means something, and now and then any text."""
    return draw(right if draw(st.integers(0, 9)) else TEXTS)
