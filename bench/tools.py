"""What the programs of this folder share: the build, environments with packages from PyPI, converted models, photographs."""
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "bench"


def need_build(build):
    """Ends with a clear word where there is nothing to measure."""
    if not (build / "dermis").exists() or not (build / "dermis-serve").exists():
        sys.exit(f"{build} holds no dermis: build it first (./run.sh --predict)")


def newer(target, source):
    return target.exists() and target.stat().st_mtime >= source.stat().st_mtime


def venv(folder, *packages):
    """The Python of an environment that holds `packages` (arguments of pip install), made at the first call."""
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        print("Installing", *packages, "into", folder, file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        whole.touch()  # an installation that broke off is begun anew
    return python


def converted(model, weight_type, build=ROOT / "build", prefix="", *more):
    """The model file of a Keras model, converted anew where the Keras model is newer."""
    out = WORK / f"{prefix}{model.stem}.{weight_type}.gguf"
    if not newer(out, model):
        WORK.mkdir(parents=True, exist_ok=True)
        subprocess.run([build / "dermis", "convert", model, out, "--type", weight_type, "--quiet", *more],
                       check=True)
    return out


def photographs():
    """Paths of two JPEGs, made once: 300x300, and 12 megapixels with a phone's grain."""
    small, large = WORK / "small.jpg", WORK / "large.jpg"
    if not (small.exists() and large.exists()):
        WORK.mkdir(parents=True, exist_ok=True)
        python = sys.executable
        if subprocess.run([python, "-c", "import PIL"], stderr=subprocess.DEVNULL).returncode:
            python = venv(WORK / "pillow-venv", "pillow==11.3.0")
        subprocess.run([python, __file__, small, large], check=True)
    return small, large


def make_photographs(small, large):
    """Has Pillow; called by photographs() as a program."""
    from PIL import Image

    picture = Image.open(ROOT / "examples" / "ISIC_0000548.jpg").convert("RGB")
    picture.resize((300, 300)).save(small, quality=90)
    grain = Image.frombytes("L", (4000, 3000), random.Random(1).randbytes(4000 * 3000)).point(lambda v: 96 + v // 4)
    Image.blend(picture.resize((4000, 3000)), grain.convert("RGB"), 0.15).save(large, quality=80)


if __name__ == "__main__":
    make_photographs(*sys.argv[1:])
