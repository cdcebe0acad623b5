"""Rules of the house that a compiler does not check:

- a layer includes only itself and what stands below it (docs/architecture.md draws the order);
- no source is over 800 lines, tables excepted (named below);
- every global symbol of a layer's library has the layer's prefix;
- the pages, styles and scripts of the service are below 100 kB together, and the texts of both languages have the same keys;
- docs/model-format.md names every operator and attribute of model/ops.c and every key of reader and writer.

Usage: check_house.py SOURCE_ROOT BUILD_ROOT
"""
import json
import re
import subprocess
import sys
from pathlib import Path

BELOW = {  # layer: the layers that it may include beside itself
    "base": set(),
    "kernels": {"base"},
    "model": {"base"},
    "image": {"base"},
    "nn": {"model", "kernels", "base"},
    "cam": {"nn", "model", "kernels", "base"},
    "engine": {"cam", "nn", "image", "model", "kernels", "base"},
    "import": {"model", "base"},
    "convert": {"import", "model", "base"},
    "http": {"base"},
    "store": {"base"},
    "server": {"http", "store", "engine", "base"},
    "cli": {"server", "store", "engine", "base"},
}
PREFIXES = {"engine": ("dermis_",), "base": ("base_",),
            # one public header; what its files share is named after the file it stands in
            "server": ("server_", "about_", "account_", "answer_", "api_", "app_", "auth_", "budget_", "call_", "classify",
                       "health_", "lane_", "limits_", "maps_", "memory_", "metrics_", "models_", "page_", "profile_",
                       "result_", "route_", "status_", "text_", "upload_", "url_", "v2_")}
PROGRAMS = {"convert", "cli"}  # no library, so no symbols for others
MAX_LINES = 800
MAX_WEB_BYTES = 100_000
TABLES = {"src/image/colormaps.c"}  # numbers only
SOURCES = {".c", ".h", ".py", ".js", ".sh", ".css"}


def layering(root):
    for path in sorted((root / "src").rglob("*.[ch]")):
        layer = path.relative_to(root / "src").parts[0]
        if layer not in BELOW:
            yield f"{path.relative_to(root)}: the folder {layer} has no place in the order of layers"
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            target = match.group(1).split("/")[0]
            where = f"{path.relative_to(root)}:{number}"
            if "/" not in match.group(1):
                yield f'{where}: include "{match.group(1)}" by its folder: "{layer}/{match.group(1)}"'
            elif target != layer and target not in BELOW[layer]:
                yield f"{where}: {layer} may not include {match.group(1)}"


def lengths(root):
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [root / name for name in listed.stdout.splitlines()]
    else:  # a source archive without its repository
        paths = [p for d in ("src", "tests", "training", "bench", "fuzz", "scripts") for p in (root / d).rglob("*")]
    for path in paths:
        name = str(path.relative_to(root))
        if path.suffix not in SOURCES or name in TABLES or not path.is_file():
            continue
        count = len(path.read_text(encoding="utf-8").splitlines())
        if count > MAX_LINES:
            yield f"{name}: {count} lines, more than {MAX_LINES}"


def symbols(build):
    for layer in BELOW.keys() - PROGRAMS:
        libraries = list((build / "src" / layer).glob("*.a"))
        if not libraries:
            yield f"src/{layer}: no library in {build}"
        for library in libraries:
            prefixes = PREFIXES.get(layer, (layer + "_",))
            listed = subprocess.run(["nm", "--defined-only", "--extern-only", "--format=posix", str(library)],
                                    capture_output=True, text=True, check=True)
            for line in listed.stdout.splitlines():
                fields = line.split()
                if len(fields) < 2 or fields[1] not in "TDBRVW":
                    continue
                name = fields[0]
                if not name.startswith(prefixes) and not name.startswith(("__", "_Z")):
                    yield f"{library.name}: the symbol {name} lacks the prefix {prefixes[0]}"


def model_format(root):
    page = (root / "docs" / "model-format.md").read_text(encoding="utf-8")
    source = {name: (root / "src" / "model" / name).read_text(encoding="utf-8")
              for name in ("ops.c", "gguf_read.c", "gguf_write.c")}
    names = set(re.findall(r'\[MODEL_\w+\] = (?:ROW\(|\{)"(\w+)"', source["ops.c"]))
    attributes = set(re.findall(r'\b(?:INT|FLOAT)\("(\w+)"', source["ops.c"]))
    keys = {key for text in source.values() for key in re.findall(r'"((?:general|dermis)\.[\w.]+)"', text)}
    roles = set(re.findall(r'"(\w+)"', re.search(r"model_role_names\[.*?;", source["gguf_write.c"], re.S).group()))
    if len(names) < 15 or len(attributes) < 30 or len(keys) < 20 or len(roles) < 4:
        yield "tests/check_house.py: no longer finds the operators, attributes or keys of src/model"
    for name in sorted(names | attributes | keys | roles):
        if f"`{name}`" not in page:
            yield f"docs/model-format.md: does not name `{name}`"
    for key in sorted(set(re.findall(r"`((?:general|dermis)\.\w[\w.]+)`", page)) - keys):
        yield f"docs/model-format.md: names `{key}`, which src/model does not know"


def keys(texts, above=""):
    return {name for key, value in texts.items()
            for name in (keys(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}"})}


def web(root):
    size = sum(p.stat().st_size for folder in ("pages", "static") for p in (root / "web" / folder).iterdir())
    if not 10_000 < size <= MAX_WEB_BYTES:
        yield f"web: pages, styles and scripts take {size} bytes, more than {MAX_WEB_BYTES}"
    texts = {language: keys(json.loads((root / "web" / "texts" / f"{language}.json").read_text(encoding="utf-8")))
             for language in ("en", "vi")}
    for key in sorted(texts["en"] ^ texts["vi"]):
        yield f"web/texts: {key} stands in one language only"
    pages = "".join(p.read_text(encoding="utf-8") for p in (root / "web" / "pages").iterdir())
    for key in sorted(set(re.findall(r"\{\{t\.([\w.]+)\}\}", pages)) - texts["en"]):
        yield f"web/pages: {{{{t.{key}}}}} is no text"


def main():
    root, build = Path(sys.argv[1]), Path(sys.argv[2])
    faults = [*layering(root), *lengths(root), *symbols(build), *web(root), *model_format(root)]
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
