"""Arguments are checked before anything is sent."""

import sys
from typing import Any

import pytest
from pydantic import TypeAdapter

from nano_banana_tools.arguments import ImageSize
from tests.support.clients import client_at, facts, text
from tests.support.image_samples import data_uri, drawn
from tests.support.sandbox import plain_sandbox

PNG = data_uri(drawn("PNG"))

BAD_GENERATIONS: list[tuple[str, dict[str, Any], str]] = [
    ("no prompt", {}, "prompt"),
    ("an empty prompt", {"prompt": ""}, "prompt"),
    ("a blank prompt", {"prompt": " \n\t\u3000"}, "prompt"),
    ("a prompt that is no text", {"prompt": 7}, "prompt"),
    ("an endless prompt", {"prompt": "a" * 40_000}, "prompt"),
    ("five images", {"images": ["https://example.com/a.png"] * 5}, "images"),
    ("a path as an image", {"images": ["/home/me/cat.png"]}, "images"),
    ("a file URL", {"images": ["file:///etc/passwd"]}, "images"),
    ("an image without a host", {"images": ["https:///cat.png"]}, "images"),
    ("an image with a line break", {"images": ["https://example.com/a\nb.png"]}, "images"),
    ("bare base64", {"images": ["iVBORw0KGgo="]}, "images"),
    ("a data URI of text", {"images": ["data:text/plain;base64,aGk="]}, "images"),
    ("a data URI without data", {"images": ["data:image/png;base64,"]}, "images"),
    ("a data URI with broken base64", {"images": ["data:image/png;base64,!!!!"]}, "images"),
    ("a data URI that holds text", {"images": ["data:image/png;base64,aGVsbG8gd29ybGQ="]}, "images"),
    ("a data URI that holds an SVG", {"images": ["data:image/svg+xml;base64,PHN2Zz48L3N2Zz4="]}, "images"),
    ("a prompt of invisible letters", {"prompt": "\u200b\u2060\ufeff"}, "prompt"),
    ("a wait that is a yes", {"wait_seconds": True}, "wait_seconds"),
    ("a TIFF image", {"images": [data_uri(drawn("TIFF"))]}, "TIFF"),
    ("an image that is cut off", {"images": [data_uri(drawn("PNG")[:60])]}, "cut off"),
    *(
        (f"an image at {host}", {"images": [f"http://{host}/p.png"]}, "cannot reach it")
        for host in (
            "localhost:3000",
            "127.1",
            "10.1.2.3",
            "192.168.0.9:8080",
            "169.254.169.254",
            "[fe80::1]",
            "[fd00::7]",
            "host.docker.internal",
            "nas",
            "printer.lan",
            "web.svc.cluster.local",
            "my-app.test",
            "10-0-0-7.nip.io",
            "7f000001.nip.io",
            "app.10.0.0.7.traefik.me",
            "box.localnet",
        )
    ),
    ("an image behind a password", {"images": ["https://me:pw@example.com/p.png"]}, "password in its URL"),
    ("a callback behind a password", {"callback_url": "https://me:pw@example.com/hook"}, "password in its URL"),
    ("a private image among good ones", {"images": ["https://example.com/a.png, http://localhost/b.png"]}, "localhost"),
    ("a callback inside a network", {"callback_url": "http://host.docker.internal:8000/hook"}, "callback_url"),
    ("a callback on this machine", {"callback_url": "http://localhost:3000/hook"}, "callback_url"),
    ("a callback without a host", {"callback_url": "http://-/"}, "callback_url"),
    ("an image that is no text", {"images": [7]}, "images"),
    ("images that are no list", {"images": {"a": 1}}, "images"),
    ("a callback that is no URL", {"callback_url": "call me"}, "callback_url"),
    ("a callback of another scheme", {"callback_url": "ftp://example.com"}, "callback_url"),
    ("a negative wait", {"wait_seconds": -1}, "wait_seconds"),
    ("an endless wait", {"wait_seconds": 241}, "wait_seconds"),
    ("a wait that is no number", {"wait_seconds": "long"}, "wait_seconds"),
    ("an impossible aspect ratio", {"aspect_ratio": "wide"}, "16:9, 21:9"),
    ("an impossible size", {"image_size": "huge"}, "image_size"),
    ("a model with line breaks", {"model": "google/\nx"}, "model"),
    ("a misspelt argument", {"aspect_rato": "16:9"}, "aspect_ratio"),
    ("an argument that does not exist", {"style": "anime"}, "style"),
]


@pytest.mark.parametrize(
    ("given", "size"),
    [("2K", "2k"), ("0.5k", "0.5k"), (512, "512"), ("512px", "512px"), ("1024 × 768", "1024x768"), (" ", None)],
)
def test_a_size_may_be_written_in_several_ways(given: Any, size: str | None) -> None:
    assert TypeAdapter(ImageSize).validate_python(given) == size


@pytest.mark.parametrize(("case", "arguments", "named"), BAD_GENERATIONS, ids=[case for case, _, _ in BAD_GENERATIONS])
async def test_an_invalid_generation_is_refused_with_a_message_and_nothing_is_sent(
    case: str, arguments: dict[str, Any], named: str
) -> None:
    if case != "no prompt":
        arguments = {"prompt": "a cat", **arguments}
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", arguments)
        assert result.is_error
        assert named in text(result)
        assert "othing was sent" in text(result)
        assert "pydantic" not in text(result)
        assert sandbox.stats.submits == 0


async def test_an_iphone_photo_is_refused_without_the_extra_that_decodes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    images = [data_uri(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/jpeg")]
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", "images": images})
        assert "Export it as JPEG" in text(result)
        assert "othing was sent" in text(result)
        assert sandbox.stats.submits == 0


@pytest.mark.parametrize("tool", ["get_task", "wait_for_image"])
@pytest.mark.parametrize("task_id", ["", "ta/../x", "ta 1", "ta?x=1", "a" * 129, "ta\n1", "태스크", 7, None])
async def test_an_impossible_task_id_is_refused_with_a_message_and_nothing_is_sent(tool: str, task_id: Any) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool(tool, {"task_id": task_id})
        assert result.is_error
        assert "task_id" in text(result)
        assert sandbox.stats.queries == 0


@pytest.mark.parametrize("seconds", [0, 0.5, 241, -1, "a while"])
async def test_an_impossible_timeout_is_refused_with_a_message(seconds: Any) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("wait_for_image", {"task_id": "ta1", "timeout_seconds": seconds})
        assert result.is_error
        assert "timeout_seconds" in text(result)


async def test_loosely_written_arguments_of_models_are_understood() -> None:
    """Null for what is left out, one image instead of a list, a list as a JSON string, upper case, a number as text."""
    loose = {
        "prompt": "a cat",
        "images": None,
        "model": None,
        "aspect_ratio": "16:9",
        "image_size": "2K",
        "callback_url": "",
        "wait_seconds": None,
    }
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        assert not (await client.call_tool("generate_image", loose)).is_error
        for images in (PNG, f'["{PNG}"]', [PNG]):
            result = await client.call_tool(
                "generate_image", {"prompt": "a cat", "images": images, "wait_seconds": "0"}
            )
            assert not result.is_error, text(result)
        bodies = [task.order.request for task in sandbox.tasks]
        assert bodies[0] == {"model": "google/gempix2", "prompt": "a cat", "aspect_ratio": "16:9", "image_size": "2k"}
        assert [body["images"] for body in bodies[1:]] == [[PNG]] * 3


async def test_every_argument_reaches_the_api_as_it_was_given() -> None:
    arguments = {
        "prompt": "고양이 🐈 “quoted” \\ \n second line",
        "images": ["https://example.com/a.png?x=1&y=2", PNG],
        "model": "google/nano-banana-pro",
        "aspect_ratio": "21:9",
        "image_size": "4k",
        "callback_url": "https://hooks.example.com/hook",
    }
    async with plain_sandbox(seconds=3600) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", arguments)
        assert facts(made)["model"] == "google/nano-banana-pro"
        assert sandbox.tasks[0].order.request == arguments
