#!/usr/bin/env python3
"""Writes a C source that holds the files of web/ as bytes, for src/server.

Usage: embed.py OUTPUT WEB_FOLDER

Each file becomes a row of server_web_files: its path below WEB_FOLDER, its bytes (a NUL behind them), its size and a
hash of its content for caches. It runs with every build, so that a file that is new is seen; OUTPUT is written only where it
would be another, so that nothing is compiled for nothing.
"""
import hashlib
import sys
from pathlib import Path


def main():
    output, folder = Path(sys.argv[1]), Path(sys.argv[2])
    paths = [path for part in ("pages", "static", "texts") for path in (folder / part).iterdir() if path.is_file()]
    rows, arrays = [], []
    for index, path in enumerate(sorted([*paths, folder / "passwords.txt", folder / "openapi.json"])):
        data = path.read_bytes()
        numbers = ",".join(map(str, data + b"\0"))
        arrays.append(f"static const unsigned char file_{index}[] = {{{numbers}}};\n")
        digest = hashlib.sha256(data).hexdigest()[:16]
        rows.append(f'    {{"{path.relative_to(folder).as_posix()}", file_{index}, {len(data)}, "{digest}"}},\n')
    text = ('#include "server/web.h"\n\n' + "".join(arrays) + "\nconst server_web_file server_web_files[] = {\n" + "".join(rows) +
            "};\n" + f"const unsigned server_web_count = {len(rows)};\n")
    if not output.exists() or output.read_text(encoding="ascii") != text:
        output.write_text(text, encoding="ascii")


if __name__ == "__main__":
    main()
