"""The chat page in a real browser, driven over WebDriver's own HTTP."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import torch

from mimo_model import Engine, load_tokenizer
from mimo_model.initialize import ModelRecipe, TokenizerRecipe, init

uvicorn = pytest.importorskip("uvicorn", reason="needs uvicorn and starlette: install mimo-model[serve]")
pytest.importorskip("starlette", reason="needs uvicorn and starlette: install mimo-model[serve]")

from mimo_model.serving.server import bind, create_app  # noqa: E402

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="needs chromium and chromedriver: Debian's chromium and chromium-driver"
)

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"
HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


@dataclass
class Page:
    """One browser window."""

    driver: httpx.Client
    session: str
    url: str = ""

    def call(self, method: str, path: str, body: object = None) -> object:
        answer = self.driver.request(method, f"/session/{self.session}{path}", json=body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value

    def open(self, url: str) -> None:
        self.url = url
        self.call("POST", "/url", {"url": url})
        self.script("localStorage.clear(); sessionStorage.clear()")
        self.reload()

    def reload(self) -> None:
        self.call("POST", "/refresh", {})
        self.until("document.readyState === 'complete'")

    def script(self, source: str) -> object:
        return self.call("POST", "/execute/sync", {"script": source, "args": []})

    def until(self, expression: str) -> object:
        """The expression's value, as soon as it is true."""
        source = f"""
            const done = arguments[0];
            const check = () => {{ const value = {expression}; value ? done(value) : setTimeout(check, 10); }};
            check();
        """
        return self.call("POST", "/execute/async", {"script": source, "args": []})

    def find(self, selector: str) -> str:
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return f"/element/{found[ELEMENT]}"

    def type(self, selector: str, text: str) -> None:
        self.call("POST", f"{self.find(selector)}/value", {"text": text})

    def set(self, selector: str, text: str) -> None:
        self.call("POST", f"{self.find(selector)}/clear", {})
        self.type(selector, text)

    def click(self, selector: str) -> None:
        self.call("POST", f"{self.find(selector)}/click", {})

    def is_shown(self, selector: str) -> bool:
        return bool(self.call("GET", f"{self.find(selector)}/displayed"))

    def ask(self, text: str) -> None:
        """Sends a message and waits for the end of its answer."""
        self.type("#message", text + ENTER)
        self.until("!document.getElementById('send').hidden")

    def texts(self, selector: str) -> list[str]:
        return self.script(f"return [...document.querySelectorAll('{selector}')].map((e) => e.textContent)")

    def metric(self, name: str) -> float:
        lines = httpx.get(f"{self.url}/metrics", trust_env=False).text.splitlines()
        return next(float(line.split(" ")[-1]) for line in lines if line.startswith(f"mimo_{name} "))


@pytest.fixture(scope="module")
def driver() -> Iterator[httpx.Client]:
    with subprocess.Popen([CHROMEDRIVER, "--port=0"], stdout=subprocess.PIPE, text=True) as process:
        port = next(
            found[1] for line in process.stdout if (found := re.search(r"started successfully on port (\d+)", line))
        )
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
            yield client
        process.terminate()


@contextmanager
def window(driver: httpx.Client, folder: Path, width: int) -> Iterator[Page]:
    options: dict[str, object] = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={folder}"]}
    options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": 800, "pixelRatio": 1, "touch": False}}
    wanted = {
        "browserName": "chrome",
        "timeouts": {"script": 10_000},
        "goog:chromeOptions": options,
        "goog:loggingPrefs": {"browser": "ALL"},
    }
    answer = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
    page = Page(driver, answer["sessionId"])
    yield page
    page.call("DELETE", "")


@pytest.fixture(scope="module")
def browser(driver, tmp_path_factory) -> Iterator[Page]:
    with window(driver, tmp_path_factory.mktemp("wide"), 1280) as page:
        yield page


@pytest.fixture(scope="module")
def parrot(tmp_path_factory):
    """A model whose next token follows from the last one: `=` brings hostile markup, `a` a text without end."""
    recipe = ModelRecipe(
        model={
            "vocab_size": 272,
            "hidden_size": 288,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 1_000_000,
        },
        tokenizer=TokenizerRecipe(
            special_tokens=("<|endoftext|>",),
            added_tokens=("<think>", "</think>"),
            chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
        ),
    )
    folder = tmp_path_factory.mktemp("parrot") / "parrot"
    model = init(recipe, folder)
    tokenizer = load_tokenizer(folder)
    say = [*tokenizer.encode("=<think>hy</think><img>"), tokenizer.eos_token_id]
    loop = tokenizer.encode("aba")
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(272, 288))
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.lm_head.weight.zero_()
        for chain in (say, loop):
            for last, following in itertools.pairwise(chain):
                model.lm_head.weight[following, last] = 5.0
    return model.eval(), tokenizer


@contextmanager
def served(parrot, **options) -> Iterator[str]:
    model, tokenizer = parrot
    app = create_app(Engine(model, tokenizer, num_drafts=1), tokenizer, model_name="parrot", **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical"))
    listener = bind("127.0.0.1", 0)
    listener.listen()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def url(parrot) -> Iterator[str]:
    with served(parrot) as address:
        yield address


@pytest.fixture
def page(browser, url) -> Iterator[Page]:
    browser.open(url)
    browser.until("document.getElementById('model').textContent === 'parrot'")
    yield browser
    problems = [entry for entry in browser.call("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
    # The browser itself notes each answer that is not 2xx.
    assert [problem for problem in problems if "Failed to load resource" not in problem["message"]] == []


def test_a_message_is_answered_with_reasoning_folded_and_its_speed(page):
    page.ask("2=")
    assert page.texts(".mine") == ["2="]
    assert page.texts(".answer .content") == ["<img>"]
    assert page.texts(".reasoning .text") == ["hy"]
    assert page.is_shown(".reasoning summary")
    assert not page.is_shown(".reasoning .text")
    assert page.script("return document.activeElement.id") == "message"
    page.click(".reasoning summary")
    assert page.is_shown(".reasoning .text")
    (note,) = page.texts(".note")
    assert re.fullmatch(r"10 tokens · [\d.]+ tokens/s · drafts accepted \d+%", note)


def test_markup_of_model_and_person_stays_text(page):
    page.ask(HOSTILE + "=")
    assert page.texts(".mine") == [HOSTILE + "="]
    assert page.texts(".answer .content") == ["<img>"]
    page.reload()
    assert page.texts(".mine") == [HOSTILE + "="]
    assert page.script("return document.querySelectorAll('#conversation img, #conversation script').length") == 0
    assert page.script("return document.title") == "MiMo chat"


def test_an_answer_appears_while_it_grows_and_can_be_stopped(page):
    page.type("#message", "a" + ENTER)
    seen = page.until("document.querySelector('.answer .content')?.textContent.length > 20")
    assert seen
    assert not page.is_shown("#send")
    assert page.metric("requests_running") == 1
    page.click("#stop")
    page.until("!document.getElementById('send').hidden")
    assert page.texts(".note") == ["stopped"]
    (answer,) = page.texts(".answer .content")
    assert answer == ("ba" * len(answer))[: len(answer)]
    while page.metric("requests_running"):
        pass
    assert page.metric('requests_total{finish="abort"}') == 1


def test_the_conversation_goes_along_and_survives_a_reload(page):
    page.ask("1=")
    before = page.metric("prompt_tokens_total")
    page.reload()
    assert page.texts(".mine, .content, .reasoning .text") == ["1=", "hy", "<img>"]
    page.ask("2=")
    # Both messages and the answer between them, without its reasoning.
    assert page.metric("prompt_tokens_total") - before == len("1=<img>2=")
    page.click("#new")
    assert page.texts(".mine, .answer") == []
    before = page.metric("prompt_tokens_total")
    page.ask("3=")
    assert page.metric("prompt_tokens_total") - before == len("3=")


def test_the_oldest_turns_are_no_longer_sent_when_the_context_is_full(page):
    context = 1_000_000
    page.click("#toggle")
    for room, turns in ((10, ["1=", "2="]), (2, ["3="])):
        # So many tokens are asked for that the prompt has only this room left.
        page.set("#max-tokens", str(context - room))
        for text in turns:
            page.ask(text)
    assert page.texts("#conversation > .note") == ["The context is full: the oldest turn is no longer sent."] * 2
    assert page.texts(".answer .content") == ["<img>"] * 3
    assert page.texts(".error") == []


def test_settings_are_sent_and_kept(page):
    assert not page.is_shown("#settings")
    page.click("#toggle")
    page.set("#max-tokens", "7")
    page.set("#system", "be brief")
    page.click("#toggle")
    before = page.metric("prompt_tokens_total")
    page.ask("a")
    assert page.texts(".answer .content") == ["bababab"]
    assert re.fullmatch(r"7 tokens · .* · cut at the token limit", page.texts(".note")[0])
    assert page.metric("prompt_tokens_total") - before == len("be briefa")
    page.reload()
    assert page.script(
        "return [document.getElementById('max-tokens').value, document.getElementById('system').value]"
    ) == [
        "7",
        "be brief",
    ]


def test_a_refusal_is_shown_and_gives_the_message_back(page):
    page.click("#toggle")
    page.set("#max-tokens", "1000000")
    page.ask("1=")
    assert page.script("return document.querySelector('[role=alert]').textContent").startswith(
        "This model's context is 1000000 tokens"
    )
    assert page.texts(".mine, .answer") == []
    assert page.script("return document.getElementById('message').value") == "1="


def test_a_key_is_taken_from_the_settings(browser, parrot):
    with served(parrot, api_key="secret") as url:
        browser.open(url)
        browser.ask("1=")
        assert "API key is missing or wrong" in browser.texts("[role=alert]")[0]
        browser.click("#toggle")
        browser.set("#api-key", "secret")
        browser.click("#toggle")
        browser.until("document.getElementById('model').textContent === 'parrot'")
        browser.type("#message", ENTER)
        browser.until("!document.getElementById('send').hidden && document.querySelector('.content')")
        assert browser.texts(".answer .content") == ["<img>"]


def test_it_fits_a_phone_in_light_and_in_dark(driver, url, tmp_path):
    with window(driver, tmp_path, 390) as page:
        page.open(url)
        page.click("#toggle")
        page.ask("x" * 200 + "=")
        grounds = set()
        for scheme in ("light", "dark"):
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
            page.call("POST", "/goog/cdp/execute", command)
            assert page.script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
            outside = """
                return [...document.querySelectorAll('button, input, textarea, .text, .note')].filter((element) => {
                    const box = element.getBoundingClientRect();
                    return box.width && (box.left < 0 || box.right > 390);
                }).map((element) => element.outerHTML)
            """
            assert page.script(outside) == []
            grounds.add(page.script("return getComputedStyle(document.body).backgroundColor"))
        assert len(grounds) == 2


def test_every_control_has_a_name(page):
    page.click("#toggle")
    names = {
        "#message": "Message",
        "#send": "Send",
        "#new": "New chat",
        "#toggle": "Settings",
        "#temperature": "Temperature",
        "#top-p": "Top-p",
        "#max-tokens": "Max tokens",
        "#api-key": "API key",
        "#system": "System prompt",
        "#conversation": "Conversation",
    }
    found = {selector: page.call("GET", f"{page.find(selector)}/computedlabel") for selector in names}
    assert found == names
    assert page.call("GET", f"{page.find('#conversation')}/computedrole") == "log"


def test_the_page_may_load_and_call_its_own_server_only(url):
    for path in ("/", "/page/chat.js", "/page/chat.css", "/page/icon.svg"):
        answer = httpx.get(url + path, trust_env=False)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")
