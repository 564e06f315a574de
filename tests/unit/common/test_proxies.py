import pytest

from nano_banana_mcp.common.proxies import UnusableProxy, proxy_for

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{kind}_proxy", raising=False)
        monkeypatch.delenv(f"{kind}_PROXY".upper(), raising=False)


def chosen(url: str = "https://images.example/a.png") -> str | None:
    proxy = proxy_for(url)
    return None if proxy is None else proxy.url


def test_without_a_variable_the_connection_is_direct() -> None:
    assert chosen() is None


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": "http://other.example:1", "https_proxy": PROXY}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5://127.0.0.1:1"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "ALL_PROXY": "foo:bar:baz"}, PROXY),
        ({"HTTPS_PROXY": PROXY, "HTTP_PROXY": "http://[::1"}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"HTTPS_PROXY": "", "https_proxy": ""}, None),
        ({"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        ({"HTTPS_PROXY": "HTTP://proxy.example:3128/"}, PROXY),
        ({"HTTPS_PROXY": " http://proxy.example:3128 "}, PROXY),
        ({"HTTPS_PROXY": "https://proxy.example"}, "https://proxy.example"),
        ({"HTTPS_PROXY": "http://user:p%40ss@proxy.example:80"}, "http://user:p%40ss@proxy.example:80"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "http://[2001:db8::1]:3128"),
        ({"ALL_PROXY": "socks5://127.0.0.1:1080"}, "socks5h://127.0.0.1:1080"),
        ({"ALL_PROXY": "socks://127.0.0.1:1080/"}, "socks5h://127.0.0.1:1080"),
    ],
    ids=str,
)
def test_the_variable_for_the_scheme_decides_and_no_other_one_is_parsed(
    variables: dict[str, str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert chosen() == url


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "https://localhost/", "https://[::1]:8443/", "http://127.9.9.9"]
)
def test_loopback_addresses_are_reached_without_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert chosen(url) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("*", "https://images.example/", True),
        ("images.example", "https://images.example/", True),
        ("IMAGES.example", "https://images.example/", True),
        ("example", "https://images.example/", True),
        (".example", "https://images.example/", True),
        ("*.example", "https://images.example/", True),
        ("ages.example", "https://images.example/", False),
        ("images.example:443", "https://images.example/", True),
        ("images.example:8443", "https://images.example/", False),
        ("https://images.example", "https://images.example/", True),
        ("a.example, images.example", "https://images.example/", True),
        ("a.example images.example", "https://images.example/", True),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:443", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("2001:db8::/32", "https://[2001:db8::1]/", True),
        ("[2001:db8::1]", "https://[2001:db8::1]/", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]/", True),
        ("[2001:db8::]/32", "https://[2001:db8::1]/", True),
        # what OrbStack, Docker and Kubernetes write, and rubbish: ignored, as the rest still counts
        ("localhost,127.0.0.0/8,::1/128", "https://images.example/", False),
        ("::1/128,images.example", "https://images.example/", True),
        ("[::1", "https://images.example/", False),
        ("[::1],images.example", "https://images.example/", True),
        ("10.0.0.0/99,,:,//,*,", "https://images.example/", True),
        ("10.0.0.0/99,,:,//,http://[,.,", "https://images.example/", False),
    ],
)
def test_no_proxy_names_hosts_and_networks_and_what_cannot_be_parsed_is_ignored(
    no_proxy: str, url: str, is_direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert chosen(url) == (None if is_direct else PROXY)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("HTTPS_PROXY", "foo:bar:baz", "not a valid URL"),
        ("https_proxy", "http://", "not a valid URL"),
        ("HTTPS_PROXY", "http://[::1", "not a valid URL"),
        ("HTTPS_PROXY", "http://me:secret@proxy.example:port", "not a valid URL"),
        ("HTTPS_PROXY", "ftp://me:secret@proxy.example", "must be an http://, https:// or socks5:// URL"),
        ("ALL_PROXY", "socks4://proxy.example:1080", "must be an http://, https:// or socks5:// URL"),
        ("HTTPS_PROXY", "http://me:secret#1@proxy.example:80", "%23 for #"),
        ("HTTPS_PROXY", "http://me:secret@1@proxy.example:80", "%40 for @"),
        ("HTTPS_PROXY", "http://me:sec/ret@proxy.example:80", "%2F for /"),
    ],
)
def test_an_unusable_proxy_is_named_with_the_reason_and_without_its_password(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    with pytest.raises(UnusableProxy, match=f"{name} cannot be used: .*{words}") as refused:
        proxy_for("https://images.example/")
    assert "secret" not in str(refused.value)
    assert "HTTP_PROXY" not in str(refused.value).replace(name, "")


def test_a_socks_proxy_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setattr("nano_banana_mcp.common.proxies.find_spec", lambda name: None)
    with pytest.raises(UnusableProxy, match=r"ALL_PROXY cannot be used: a SOCKS proxy needs the extra “socks”"):
        proxy_for("https://images.example/")


def test_a_password_is_not_in_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:80")
    assert "secret" not in repr(proxy_for("https://images.example/"))
