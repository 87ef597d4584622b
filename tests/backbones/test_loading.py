"""What is said where a name leads to no model: each reason with its own mend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import hf_hub_download

from difftuning.backbones import loading
from difftuning.errors import ModelError


@pytest.mark.parametrize("name", ["models/sdxl.safetensors", "./sdxl.safetensors", "sdxl.ckpt", "/a/b/sdxl.CKPT"])
def test_a_single_file_is_told_how_it_becomes_a_folder(name: str) -> None:
    with pytest.raises(ModelError) as told:
        loading.load(name)
    said, made = str(told.value), str(Path(name).with_suffix(""))
    assert "is not there, and would be one file of weights" in said
    assert f"from_single_file({str(Path(name))!r}).save_pretrained({made!r})" in said
    assert said.endswith(f"then set model={made}")


def test_a_single_file_that_is_there_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "sdxl.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"'models/sdxl.safetensors' is one file of weights"):
        loading.load("models/sdxl.safetensors")


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub that refuses: what is asked for lies under `/STATUS-CODE/` of it."""

    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            status, code = self.path.split("/")[1].split("-")
            self.send_response(int(status))
            self.send_header("X-Error-Code", code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refused(endpoint: str, cache: Path) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011
        hf_hub_download("some/model", "model_index.json", endpoint=endpoint, cache_dir=cache)
    return raised.value


def test_a_licence_and_a_login_are_asked_for_where_the_hub_refuses(hub: str, tmp_path: Path) -> None:
    for where, said in (
        (
            "401-GatedRepo",
            r"\(401\): it has a licence; accept the licence on its page, https://huggingface.co/some/model",
        ),
        ("403-GatedRepo", r"\(403\): it has a licence"),
        ("401-RepoNotFound", r"\(401\): it may have a licence, be private or not be there"),
    ):
        reason = refused(f"{hub}/{where}", tmp_path)
        around = OSError("diffusers' own")
        around.__cause__ = reason
        for one in (reason, around):
            told = loading.refusal("some/model", one)
            assert re.search(said, told)
            assert told.endswith("then run `hf auth login`")


def test_a_name_that_the_hub_does_not_have_is_to_be_checked(hub: str, tmp_path: Path) -> None:
    told = loading.refusal("some/model", refused(f"{hub}/404-RepoNotFound", tmp_path))
    assert "check the name and the network" in told
