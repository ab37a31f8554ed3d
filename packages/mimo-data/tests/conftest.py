"""Fixtures: a byte-level tokenizer folder, documents on disk, an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mimo_data import Document, write_documents, write_shards

# No limit of time for one example: other work on the machine makes any time long.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

Respond = Callable[[dict, int], tuple[int, "dict | bytes", dict[str, str]]]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """256 byte symbols and `<|endoftext|>`, id 256."""
    folder = tmp_path_factory.mktemp("tokenizer")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    return folder


@pytest.fixture
def documents(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Writes documents of source "web" from texts by id, and returns the file."""

    def write(texts: dict[str, str]) -> Path:
        path = tmp_path / "documents.jsonl.zst"
        write_documents(path, [Document(id=name, text=text, source="web") for name, text in texts.items()])
        return path

    return write


@pytest.fixture
def shards(tmp_path: Path, tokenizer: Path) -> Callable[[dict[str, list[str]]], Path]:
    """Tokenizes texts by source, and returns the folder."""

    def write(texts: dict[str, list[str]]) -> Path:
        found = [
            Document(id=f"{source}-{number}", text=text, source=source)
            for source, all_texts in texts.items()
            for number, text in enumerate(all_texts)
        ]
        write_shards(found, tokenizer, tmp_path / "shards")
        return tmp_path / "shards"

    return write


class ChatServer:
    """An OpenAI-compatible endpoint on a port of this machine that answers what a test tells it to.

    Attributes:
        requests: bodies of the chats asked for, in order of arrival.
        keys: the `Authorization` header of each.
        most_at_once: requests that were being answered at one time.
    """

    def __init__(self, respond: Respond) -> None:
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.most_at_once = 0
        self._num_running = 0
        self._lock = threading.Lock()
        chats = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with chats._lock:
                    chats.requests.append(body)
                    chats.keys.append(self.headers["authorization"])
                    number = len(chats.requests)
                    chats._num_running += 1
                    chats.most_at_once = max(chats.most_at_once, chats._num_running)
                if self.path == "/v1/chat/completions":
                    status, content, headers = respond(body, number)
                else:
                    status, content, headers = 404, {"error": {"message": f"no {self.path}"}}, {}
                payload = content if isinstance(content, bytes) else json.dumps(content).encode()
                with chats._lock:
                    chats._num_running -= 1
                self.send_response(status)
                for name, value in {"content-length": str(len(payload)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def chat_server() -> Iterator[Callable[[Respond], ChatServer]]:
    """Starts endpoints from functions (body, number of the request) → (status, JSON or bytes, headers)."""
    started: list[ChatServer] = []

    def start(respond: Respond) -> ChatServer:
        started.append(ChatServer(respond))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def completion() -> Callable[..., tuple[int, dict, dict[str, str]]]:
    """Makes a good response from a text: ten prompt tokens and one completion token a word."""

    def make(text: str, *, finish: str = "stop", **message: str) -> tuple[int, dict, dict[str, str]]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        usage = {"prompt_tokens": 10, "completion_tokens": len(text.split())}
        return 200, {"object": "chat.completion", "choices": [choice], "usage": usage}, {}

    return make
