"""Files made to do harm: they are refused before they do any."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from difftuning.backbones.folder import read_part
from difftuning.bank.card import ShardEntry
from difftuning.checksums import SUMS, check_sums
from difftuning.config.loading import parse_yaml
from difftuning.data import decoding
from difftuning.data.decoding import decode
from difftuning.data.prompted import Prompted
from difftuning.data.sources import DataConfig, open_source
from difftuning.errors import CheckpointError, ConfigError, DataError, ModelError

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))


def png(side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "PNG")
    return file.getvalue()


def test_a_picture_of_a_kind_that_runs_a_program_is_not_opened() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    with pytest.raises(DataError, match="not an image of a kind that is read"):
        decode(file.getvalue(), "a", 1000)


def test_a_picture_of_scans_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.effect_noise((1024, 1024), 50).save(file, "JPEG", progressive=True, quality=50)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    monkeypatch.setattr(decoding, "SECONDS", 0.5)
    assert decode(whole, "a", 2**21).size == (1024, 1024)
    with pytest.raises(DataError, match=r"^a: decoding took more than 0.5 seconds"):
        decode(whole[:-2] + whole[last:-2] * 300 + whole[-2:], "a", 2**21)


def test_references_of_yaml_that_would_fill_the_memory() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    with pytest.raises(ConfigError, match=r"line 5: more than 32 references"):
        parse_yaml(bomb, "a recipe")
    assert parse_yaml("a: &a [1]\nb: *a", "a recipe") == {"a": [1], "b": [1]}
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_yaml("[" * 5000, "a recipe")


@pytest.mark.parametrize("value", ["!!int x", "!!timestamp 2020-99-99", "!!float x", "? [a]\n: b", "9" * 5000])
def test_values_of_yaml_that_python_has_its_own_errors_for(value: str) -> None:
    with pytest.raises(ConfigError):
        parse_yaml(value, "a recipe")
    with pytest.raises(ConfigError, match="python/object"):
        parse_yaml("!!python/object/apply:os.system [ls]", "a recipe")


def test_a_template_that_asks_for_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    source = open_source(DataConfig(target=str(tmp_path)))
    with pytest.raises(ConfigError, match="a field is a name alone"):
        Prompted(source, "{label:>9999999999}")


def test_rows_that_lead_out_of_their_folder_are_set_aside(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "set").mkdir()
    (tmp_path / "set/own.png").write_bytes(png())
    names = ["own.png", "../secret.png", str(tmp_path / "secret.png")]
    rows = "".join(json.dumps({"image": name, "label": "a"}) + "\n" for name in names)
    (tmp_path / "set/rows.jsonl").write_text(rows)
    source = open_source(DataConfig(target=str(tmp_path / "set/rows.jsonl")))
    assert source.read(0).size == (8, 8)
    for row in (1, 2):
        with pytest.raises(DataError, match=f"row {row}: .*secret.png lies outside"):
            source.read(row)


@pytest.mark.parametrize("file", ["../../etc/passwd", "/etc/passwd", "items-00000000-00000001.safetensors/../x"])
def test_shards_of_a_card_lie_beside_it(file: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        ShardEntry(file=file, start=0, stop=1, bytes=1, sha256="")


def test_sums_that_lead_out_of_their_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside").write_text("")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (tmp_path / "folder" / SUMS).write_text(f"{empty}  ../outside\n")
    with pytest.raises(CheckpointError, match=r"\.\./outside is missing or not what was written"):
        check_sums(tmp_path / "folder", "")


@pytest.mark.parametrize("kind", ["DiffusionPipeline", "logging", "utils", "OnnxRuntimeModel", "no such class", ["a"]])
def test_the_class_of_a_model_part_is_a_network_or_a_scheduler(tmp_path: Path, kind: object) -> None:
    with pytest.raises(ModelError, match="is no network or scheduler"):
        read_part(tmp_path, "unet", {"unet": ["diffusers", kind]})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_decision_hangs_on_the_wall_clock(path: Path) -> None:
    assert not re.search(r"\btime\.time\(|\b(now|utcnow|today|fromtimestamp)\(|st_[amc]time|getmtime", path.read_text())
