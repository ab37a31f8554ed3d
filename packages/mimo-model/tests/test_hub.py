"""Checkpoints by name: the real Hugging Face client against a hub of our own on loopback, and ModelScope's call."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest
import torch
from huggingface_hub import constants

from mimo_model import ModelError, load_model, load_tokenizer

COMMIT = "1" * 40
OTHER_COMMIT = "2" * 40


class Hub:
    """A hub with the file layout of the real one: `/api/models/…` and `/NAME/resolve/REVISION/FILE`."""

    def __init__(self, repositories: dict[str, dict[str, Path]]) -> None:
        """Repository name → revision (branch or commit) → folder."""
        self.repositories = repositories
        self.requests: list[str] = []
        self.gated: set[str] = set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.answer(self)

            def do_HEAD(self) -> None:
                hub.answer(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path).strip("/")
        self.requests.append(path)
        parts = path.removeprefix("api/models/").split("/")
        name = "/".join(parts[:2])
        if name in self.gated and "resolve" in parts:
            return self._send(request, 403, b"{}", {"X-Error-Code": "GatedRepo"})
        if name not in self.repositories:
            return self._send(request, 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        revisions = self.repositories[name]
        revision = parts[3] if len(parts) > 3 else "main"
        if revision not in revisions:
            return self._send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        folder = revisions[revision]
        commit = next(r for r, f in revisions.items() if f == folder and len(r) == 40)
        files = sorted(file for file in folder.iterdir() if file.is_file())
        if path.startswith("api/models/") and "tree" in parts:
            entries = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": hashed(file)} for file in files
            ]
            return self._send(request, 200, json.dumps(entries).encode(), {"Content-Type": "application/json"})
        if path.startswith("api/models/"):
            info = {"_id": "0", "id": name, "sha": commit, "siblings": [{"rfilename": file.name} for file in files]}
            return self._send(request, 200, json.dumps(info).encode(), {"Content-Type": "application/json"})
        file = folder / "/".join(parts[4:])
        if not file.is_file():
            return self._send(request, 404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        return self._send(request, 200, file.read_bytes(), {"ETag": f'"{hashed(file)}"', "X-Repo-Commit": commit})

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)


def hashed(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(checkpoint, tmp_path, monkeypatch) -> Iterator[Hub]:
    other = Path(shutil.copytree(checkpoint, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rope_theta": 7e5, "rope_parameters": None}))
    (other / "modeling_mimo.py").write_text("raise SystemExit('remote code ran')")
    main = {"main": checkpoint, COMMIT: checkpoint, "longer": other, OTHER_COMMIT: other}
    hub = Hub({"someone/mimo": main})
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield hub
    hub.close()


def test_a_model_and_its_tokenizer_load_by_name(hub, checkpoint):
    model = load_model("someone/mimo")
    wanted = load_model(checkpoint).state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())
    assert load_tokenizer("someone/mimo").encode("1+1") == load_tokenizer(checkpoint).encode("1+1")


def test_a_tokenizer_is_fetched_without_the_weights(hub, checkpoint):
    assert load_tokenizer("someone/mimo").encode("1+1") == load_tokenizer(checkpoint).encode("1+1")
    assert not [path for path in hub.requests if path.endswith(".safetensors")]
    load_model("someone/mimo")
    assert [path for path in hub.requests if path.endswith(".safetensors")]


def test_a_revision_is_a_branch_or_a_commit_and_code_is_never_fetched(hub):
    assert load_model("someone/mimo", revision="longer").config.rope_theta == 7e5
    assert load_model("someone/mimo", revision=COMMIT).config.rope_theta == 10_000
    assert not [path for path in hub.requests if "resolve" in path and path.endswith(".py")]


def test_a_second_load_needs_no_network(hub, monkeypatch):
    load_model("someone/mimo")
    num_files = len([path for path in hub.requests if "resolve" in path])
    load_model("someone/mimo")
    assert len([path for path in hub.requests if "resolve" in path]) == num_files
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert load_model("someone/mimo").config.rope_theta == 10_000


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("someone/nothing", {}, r"someone/nothing: neither a folder here nor a repository that you may read"),
        ("someone/mimo", {"revision": "nowhere"}, r"someone/mimo: the Hugging Face Hub has no revision 'nowhere'"),
        ("some one/mimo", {}, r"some one/mimo: not a name of the Hugging Face Hub"),
    ],
)
def test_a_name_that_the_hub_does_not_know_is_one_clear_error(hub, name, settings, message):
    with pytest.raises(ModelError, match=message):
        load_model(name, **settings)


def test_a_gated_repository_says_where_to_accept_its_terms(hub):
    hub.gated.add("someone/mimo")
    with pytest.raises(ModelError, match=rf"Accept them on {hub.endpoint}/someone/mimo, then run `hf auth login`"):
        load_model("someone/mimo")


def test_a_network_that_is_down_is_one_clear_error(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelError, match=r"nor in the cache, and not to be had from the Hugging Face Hub") as caught:
        load_model("someone/mimo")
    assert "\n" not in str(caught.value)


def test_a_connection_that_breaks_within_a_file_is_one_clear_error(hub, monkeypatch):
    send = hub._send

    def cut(request, status, body, headers):
        if status == 200 and request.path.endswith(".safetensors") and request.command == "GET":
            request.close_connection = True
            request.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                request.send_header(key, value)
            request.end_headers()
            request.wfile.write(body[: len(body) // 2])
            hub.cut = True
            request.connection.close()
            return
        send(request, status, body, headers)

    monkeypatch.setattr(hub, "_send", cut)
    with pytest.raises(ModelError, match=r"someone/mimo: .* not to be had from the Hugging Face Hub"):
        load_model("someone/mimo")
    assert hub.cut


def test_a_path_with_one_slash_that_is_no_folder_is_asked_of_the_hub_and_others_are_not(hub, tmp_path):
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        load_model("runs/mimo/step-5")
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        load_model("./mimo")
    assert hub.requests == []


# -- ModelScope. Its package is not a dependency; what stands in for it has the signature of modelscope 1.40's function.


@pytest.fixture
def modelscope(checkpoint, monkeypatch) -> list[tuple[str, str | None, tuple[str, ...]]]:
    calls = []

    def snapshot_download(model_id=None, revision=None, cache_dir=None, *, allow_patterns=None, **_others):
        calls.append((model_id, revision, tuple(allow_patterns)))
        if model_id != "someone/mimo":
            raise RuntimeError(f"404 Client Error: {model_id} does not exist\nRequest id: 7")
        return str(checkpoint)

    module = ModuleType("modelscope")
    module.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "modelscope", module)
    return calls


def test_modelscope_by_prefix_and_by_environment(modelscope, monkeypatch):
    assert load_model("modelscope:someone/mimo", revision="v1").config.rope_theta == 10_000
    monkeypatch.setenv("MIMO_HUB", "modelscope")
    load_tokenizer("someone/mimo")
    assert [call[:2] for call in modelscope] == [("someone/mimo", "v1"), ("someone/mimo", None)]
    assert ["*.safetensors" in call[2] for call in modelscope] == [True, False]
    assert not any(pattern.endswith((".py", ".bin")) for pattern in modelscope[0][2])


def test_what_modelscope_does_not_have_is_one_clear_error(modelscope):
    with pytest.raises(ModelError, match=r"not to be had from ModelScope: 404 Client Error") as caught:
        load_model("modelscope:someone/nothing")
    assert "\n" not in str(caught.value)


def test_modelscope_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(ModelError, match="pip install modelscope"):
        load_model("modelscope:someone/mimo")


def test_an_unknown_hub_in_the_environment_is_refused(monkeypatch):
    monkeypatch.setenv("MIMO_HUB", "gitlab")
    with pytest.raises(ModelError, match="MIMO_HUB=gitlab: names no hub"):
        load_model("someone/mimo")
