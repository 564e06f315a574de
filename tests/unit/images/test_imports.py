import subprocess
import sys


def test_the_room_costs_next_to_nothing_to_import() -> None:
    script = (
        "import sys\n"
        "from nano_banana_mcp.images import fetch, picture, sniff\n"
        "print(sorted({'httpx', 'httpcore', 'PIL', 'ssl', 'idna', 'mcp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
