"""Tables of docs/performance.md: each stands between two markers and is rewritten by the script that measured it."""
import platform
import re
import sys
from datetime import date
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"


def machine():
    """The processor, what of AVX-512 it has, and its logical CPUs."""
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*:\s*(.+)", text)
    flags = re.search(r"flags\s*:\s*(.+)", text)
    has = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if flags and f in flags.group(1).split()]
    return f"{name.group(1) if name else platform.machine()} ({', '.join(has)}), {text.count('processor')} logical CPUs"


class Table:
    """Prints lines as they come, and afterwards puts them into the page where `name` is not empty."""

    def __init__(self, name):
        self.name = name
        self.lines = []
        if name:
            arguments = sys.argv[1:]
            if "--write" in arguments:
                at = arguments.index("--write")
                del arguments[at:at + 2]
            command = " ".join([Path(sys.argv[0]).name] + [Path(a).name if "/" in a else a for a in arguments])
            self.lines.append(f"{date.today()}, {machine()}: `bench/{command}`\n")

    def line(self, text=""):
        print(text, flush=True)
        self.lines.append(text)

    def close(self):
        if not self.name:
            return
        begin, end = f"<!-- {self.name} -->\n", f"<!-- end {self.name} -->"
        page = PAGE.read_text()
        if begin not in page or end not in page:
            sys.exit(f"{PAGE}: no markers for {self.name}")
        head, rest = page.split(begin, 1)
        PAGE.write_text(head + begin + "\n".join(self.lines) + "\n" + end + rest.split(end, 1)[1])
