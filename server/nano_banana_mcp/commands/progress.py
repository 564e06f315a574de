"""Progress of waits: bars on a terminal, otherwise one line for each report."""

from __future__ import annotations

from typing import TextIO

from rich.progress import BarColumn, Progress, TextColumn

from nano_banana_mcp.commands.console import console, printable

USUAL_SECONDS = 45.0
"""What a real image usually takes: the API's other clients expect 30-60 s."""
MAX_UNFINISHED_SHARE = 0.95


class WaitProgress:
    """Progress over the usual time of one image.

    Args:
        label: What stands before the bar or the line.
        usual_seconds: What an image usually takes.
        stream: Standard output or standard error.
    """

    def __init__(self, label: str, usual_seconds: float, stream: TextIO) -> None:
        self._label = label
        self._usual_seconds = max(usual_seconds, 0.1)
        self._stream = stream
        target = console(stream)
        self._is_terminal = target.is_terminal
        self._progress = Progress(
            TextColumn("{task.fields[label]} ", markup=False),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            console=target,
            disable=not self._is_terminal,
        )

    def __enter__(self) -> WaitProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def add(self, label: str = "") -> Bar:
        """Add a bar; without a label it has the label of all."""
        return Bar(self, label or self._label)

    def _update(self, bar: Bar, share: float, text: str) -> None:
        if self._is_terminal:
            self._progress.update(bar.task, completed=share, description=text)
        else:
            self._stream.write(f"{bar.label}  {text}\n")
            self._stream.flush()


class Bar:
    """The bar of one image."""

    def __init__(self, progress: WaitProgress, label: str) -> None:
        self.label = label
        self.task = progress._progress.add_task("", total=1.0, label=label)
        self._of = progress

    def show(self, seconds: float, text: str) -> None:
        """Show the seconds that an image has taken."""
        self._of._update(self, min(MAX_UNFINISHED_SHARE, seconds / self._of._usual_seconds), printable(text))

    def finish(self, text: str) -> None:
        """Show the end."""
        self._of._update(self, 1.0, printable(text))
