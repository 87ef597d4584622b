"""Coverage-guided fuzzing of what reads strangers' bytes in Python code of ours: atheris looks for inputs that reach new lines.

    pip install atheris
    python tests/faults/fuzz.py pickles|recipes|tars [-runs=200000] [-max_total_time=300] [FOLDER OF INPUTS]

An input that is neither taken nor refused by a difftuning error ends the run with its traceback and a file `crash-...`. Options are
those of libFuzzer. It is not part of `make test-faults`: atheris has no wheel for every Python that difftuning runs on.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import tarfile
import tempfile
from collections import OrderedDict
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["difftuning", "yaml", "tarfile"]):
    from difftuning.backbones.tensor_unpickler import read_pickle
    from difftuning.config.loading import parse_yaml
    from difftuning.config.validate import validate
    from difftuning.data.tar_shards import samples
    from difftuning.errors import DifftuningError
    from difftuning.workflows.recipe import Recipe
    from difftuning.workflows.recipes import listing, show

import numpy as np

SCRATCH = Path(tempfile.mkdtemp()) / "input"


def pickles(content: bytes) -> None:
    """`convert` on a published pickle."""
    SCRATCH.write_bytes(content)
    read_pickle(SCRATCH)


def recipes(content: bytes) -> None:
    """A recipe file."""
    found = parse_yaml(content.decode(errors="replace"), "a recipe")
    if isinstance(found, dict):
        validate(Recipe, found)


def tars(content: bytes) -> None:
    """A tar shard."""
    try:
        for _ in samples(io.BytesIO(content)):
            pass
    except tarfile.TarError:  # `Shards` puts it into words
        return


def seeds(name: str) -> list[bytes]:
    """Sound inputs to begin with."""
    if name == "recipes":
        return [show(one["name"])["text"].encode() for one in listing()["recipes"]]
    if name == "pickles":
        held = OrderedDict(a=np.arange(6, dtype=np.float32).reshape(2, 3), b=[1, 2.5, "x", None, (True, b"y")])
        return [pickle.dumps(held, protocol) for protocol in (2, 3, 4)]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("a.cls")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"cat"))
    return [out.getvalue()]


TARGETS = {"pickles": pickles, "recipes": recipes, "tars": tars}


def main() -> None:
    """The command line."""
    name, *options = sys.argv[1:]
    attempt = TARGETS[name]

    def one(content: bytes) -> None:
        try:
            attempt(content)
        except DifftuningError:
            return

    corpus = Path(tempfile.mkdtemp())
    for number, content in enumerate(seeds(name)):
        (corpus / str(number)).write_bytes(content)
    atheris.Setup([sys.argv[0], *options, os.fspath(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
