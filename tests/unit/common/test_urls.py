import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano_banana_mcp.common.urls import MAX_URL, http_url

SAME = [
    "https://google.datas.systems/fileSystem/response_images/287/2025/08/29/1756432513771985292_2989.png",
    "https://s3.example.com/b/k.png?X-Amz-Signature=a%2Fb&X-Amz-Date=20260101T000000Z&a=(1),2;3!*'#x",
    "http://127.0.0.1:8000/files/a.png",
    "http://[::1]:8000/a",
    "https://user:pass@example.com/a",
    "https://example.com/a~b/c+d@e=f$g/",
    "https://example.com/X",
    "https://example.com/" + "a" * (MAX_URL - 20),
]


@pytest.mark.parametrize("url", SAME)
def test_a_well_formed_url_stays_as_it_is(url: str) -> None:
    assert http_url(url) == url


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://Example.COM/A", "https://example.com/A"),
        ("HTTPS://example.com", "https://example.com/"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
        (" https://example.com/ ", "https://example.com/"),
        ("https://User:Pass@Example.COM/", "https://User:Pass@example.com/"),
        ("https://example.com/a b.png", "https://example.com/a%20b.png"),
        ("https://example.com/그림.png", "https://example.com/%EA%B7%B8%EB%A6%BC.png"),
    ],
)
def test_odd_spellings_become_plain(given_url: str, expected: str) -> None:
    assert http_url(given_url) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/a.png",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "https://",
        "https:///a",
        "http://-/",
        "http://...",
        "http:// x/",
        "http://a b@example.com/",
        "https://example.com:port/",
        "https://example.com:99999/",
        "https://example.com/a\nb",
        "https://example.com/\u202egnp.a",
        "https://example.com/\u2028",
        'https://example.com/"onload=',
        "https://example.com/<b>",
        "https://example.com\\@evil.com/",
        "https://example.com/\ud800",
        "https://example.com/" + "a" * (MAX_URL - 19),
    ],
)
def test_text_that_is_no_url_or_hides_something_is_refused(text: str) -> None:
    assert http_url(text) is None


@given(st.text() | st.text().map(lambda text: f"https://example.com/{text}"))
def test_any_text_is_either_refused_or_becomes_ascii_that_is_taken_again_as_it_is(text: str) -> None:
    url = http_url(text)
    if url is not None:
        assert url.isascii()
        assert http_url(url) == url


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://그림.example/고양이.png", "https://xn--2i0b46t.example/%EA%B3%A0%EC%96%91%EC%9D%B4.png"),
        ("https://Bücher.example:8443/a", "https://xn--bcher-kva.example:8443/a"),
        ("https://例え。テスト/", "https://xn--r8jz45g.xn--zckzah/"),
    ],
)
def test_a_host_in_another_script_is_written_in_its_dns_form(url: str, plain: str) -> None:
    assert http_url(url) == plain
