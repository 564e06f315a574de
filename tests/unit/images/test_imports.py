import subprocess
import sys


def test_importing_images_loads_no_heavy_package() -> None:
    script = (
        "import sys\n"
        "import nano_banana_mcp.images.download.fetcher, nano_banana_mcp.images.resizing.worker\n"
        "print(sorted({'httpx', 'httpcore', 'PIL', 'idna', 'mcp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
