"""A peer: the same tool on FastMCP, without the banner that it prints otherwise. Its own environment runs this file."""

from fastmcp import FastMCP  # type: ignore[import-not-found, unused-ignore]  # it is in an environment of its own

server = FastMCP("echo")


@server.tool  # type: ignore[untyped-decorator, unused-ignore]  # as above
def echo(text: str) -> str:
    """Give back the text."""
    return text


if __name__ == "__main__":
    server.run(show_banner=False)
