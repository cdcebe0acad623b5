"""The running server against its own /api/openapi.json, by schemathesis (PyPI); skipped where it is not installed.

Usage: test_schema.py BUILD_ROOT SOURCE_ROOT
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from service import Service  # noqa: E402

BUILD, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])
PHOTO = (SOURCE / "examples" / "ISIC_0000548.jpg").read_bytes()
# random bytes are no picture, so what the document allows may be refused (415); with a token in every request the
# tool's own requests without one are what `ignored_auth` misreads
EXCLUDED = "positive_data_acceptance,ignored_auth"


def main():
    beside = Path(os.environ.get("DERMIS_TEST_PYTHON", sys.executable)).parent / "schemathesis"
    program = str(beside) if beside.exists() else shutil.which("schemathesis")
    if not program:
        print("skipped: schemathesis is not installed")
        return 77
    with Service(BUILD, "--rate-limit", 0) as service:
        owner = service.client()
        owner.sign_up("schema")
        page = owner.form("/profile/tokens", {"label": "schemathesis"}, "/profile/").text
        tokens = [t for t in re.findall(r'[">]([A-Za-z0-9_-]{43})["<]', page) if t not in re.findall(r'name="csrf" value="([^"]+)"', page)]
        token = tokens[0]
        base = f"http://127.0.0.1:{service.port}"
        for more in ([], ["-H", f"Authorization: Bearer {token}"]):
            run = subprocess.run([program, "run", f"{base}/api/openapi.json", "--url", base, "--max-examples", "25",
                                  "--seed", "1", "--workers", "1", "--checks", "all", "--exclude-checks", EXCLUDED,
                                  *more],
                                 capture_output=True, text=True, timeout=240, cwd=service.folder.name)
            if run.returncode:
                print(run.stdout[-6000:], run.stderr[-2000:])
                return 1
        assert service.process.poll() is None
    return 0


if __name__ == "__main__":
    sys.exit(main())
