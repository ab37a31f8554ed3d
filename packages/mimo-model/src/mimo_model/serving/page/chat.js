// The chat page: one conversation, streamed from /v1/chat/completions. Text of a model or a person reaches the document
// as text nodes only.
"use strict";

const at = (id) => document.getElementById(id);
const SAVED_SETTINGS = ["temperature", "top-p", "max-tokens", "system"];

let messages = []; // role and content; answers have reasoning and note, too
let running = null; // the AbortController of the answer under way
let isFull = false; // the last answer filled the context

function save() {
  sessionStorage.setItem("conversation", JSON.stringify(messages));
}

function restore() {
  for (const id of SAVED_SETTINGS) {
    at(id).value = localStorage.getItem(id) ?? at(id).value;
  }
  at("api-key").value = sessionStorage.getItem("api-key") ?? "";
  try {
    messages = JSON.parse(sessionStorage.getItem("conversation")) ?? [];
  } catch {
    messages = [];
  }
  for (const message of messages) {
    if (message.role === "user") {
      showMine(message.content);
    } else {
      const view = showAnswer();
      view.add("reasoning", message.reasoning ?? "");
      view.add("content", message.content);
      view.end(message.note ?? "");
    }
  }
  at("empty").hidden = messages.length > 0;
}

function showMine(text) {
  const bubble = document.createElement("div");
  bubble.className = "mine text";
  bubble.textContent = text;
  at("conversation").append(bubble);
  return bubble;
}

function showNote(text, { isError = false } = {}) {
  const note = document.createElement("p");
  note.className = isError ? "note error" : "note";
  if (isError) note.setAttribute("role", "alert");
  note.textContent = text;
  at("conversation").append(note);
  scroll(true);
}

function showAnswer() {
  const view = at("answer").content.firstElementChild.cloneNode(true);
  const texts = { reasoning: new Text(), content: new Text() };
  view.querySelector(".reasoning .text").append(texts.reasoning);
  view.querySelector(".content").append(texts.content);
  view.classList.add("busy");
  at("conversation").append(view);
  const waiting = { reasoning: "", content: "" };
  let frame = 0;

  // Once a frame: a fast model sends thousands of pieces a second.
  function draw() {
    frame = 0;
    for (const kind of ["reasoning", "content"]) {
      texts[kind].appendData(texts[kind].length ? waiting[kind] : waiting[kind].trimStart());
      waiting[kind] = "";
    }
    view.querySelector("details").hidden = texts.reasoning.length === 0;
    scroll(false);
  }

  return {
    add(kind, text) {
      waiting[kind] += text;
      frame ||= requestAnimationFrame(draw);
    },
    end(note) {
      cancelAnimationFrame(frame);
      draw();
      view.classList.remove("busy");
      view.querySelector(".note").textContent = note;
      scroll(false);
    },
    remove: () => view.remove(),
  };
}

function scroll(always) {
  const box = at("scroller");
  if (always || box.scrollHeight - box.scrollTop - box.clientHeight < 120) box.scrollTop = box.scrollHeight;
}

function headers() {
  const key = at("api-key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

function requestBody() {
  const system = at("system").value;
  const turns = messages.map(({ role, content }) => ({ role, content }));
  const maxTokens = at("max-tokens").valueAsNumber;
  return {
    messages: system ? [{ role: "system", content: system }, ...turns] : turns,
    temperature: at("temperature").valueAsNumber,
    top_p: at("top-p").valueAsNumber,
    ...(maxTokens && { max_tokens: maxTokens }),
    stream: true,
    stream_options: { include_usage: true },
    separate_reasoning: true,
  };
}

// The data of each server-sent event, as JSON, up to [DONE].
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("The server ended the answer early.");
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function post(signal) {
  const body = JSON.stringify(requestBody());
  const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), body, signal });
  if (response.ok) return response;
  const { error } = await response.json();
  if (error.code === "context_length_exceeded" && forgetOldest()) return post(signal);
  throw new Error(error.message);
}

// Leaves a quarter of what filled the context to the next answer.
function forgetOldest() {
  const size = () => messages.reduce((sum, { content }) => sum + content.length, 0);
  const limit = 0.75 * size();
  let count = 0;
  for (; messages.length > 1 && size() > limit; count++) messages.splice(0, 2);
  if (count) showNote(`The context is full: ${count > 1 ? `the ${count} oldest turns are` : "the oldest turn is"} no longer sent.`);
  return count > 0;
}

function summary(usage, finish, seconds) {
  const parts = [`${usage.completion_tokens} tokens`, `${(usage.completion_tokens / seconds).toFixed(1)} tokens/s`];
  const shares = usage.drafted_tokens.map((drafted, layer) =>
    drafted ? `${Math.round((100 * usage.accepted_tokens[layer]) / drafted)}%` : "–",
  );
  if (shares.length) parts.push(`drafts accepted ${shares.join("\u00a0/ ")}`);
  if (finish === "length") parts.push("cut at the token limit");
  return parts.join(" · ");
}

async function ask(text) {
  if (isFull) forgetOldest();
  isFull = false;
  const conversation = messages; // "New chat" replaces it meanwhile
  conversation.push({ role: "user", content: text });
  at("empty").hidden = true;
  const bubble = showMine(text);
  const answer = { role: "assistant", content: "", reasoning: "", note: "" };
  const view = showAnswer();
  scroll(true);
  running = new AbortController();
  setBusy(true);
  const start = performance.now();
  let finish = null;
  try {
    for await (const event of events(await post(running.signal))) {
      if (event.error) throw new Error(event.error.message);
      const [choice] = event.choices;
      for (const [kind, field] of [["reasoning", "reasoning_content"], ["content", "content"]]) {
        const text = choice?.delta[field] ?? "";
        answer[kind] += text;
        view.add(kind, text);
      }
      finish = choice?.finish_reason ?? finish;
      if (event.usage) answer.note = summary(event.usage, finish, (performance.now() - start) / 1000);
    }
    isFull = finish === "length" && !at("max-tokens").value;
  } catch (error) {
    if (error.name === "AbortError") {
      answer.note = "stopped";
    } else {
      showNote(error.message, { isError: true });
    }
  }
  running = null;
  setBusy(false);
  view.end(answer.note);
  if (answer.content || answer.reasoning || answer.note) {
    conversation.push(answer);
  } else {
    // Nothing came: the message goes back to where it can be sent again.
    conversation.pop();
    view.remove();
    bubble.remove();
    at("message").value ||= text;
  }
  save();
}

function setBusy(isBusy) {
  at("send").hidden = isBusy;
  at("stop").hidden = !isBusy;
  at("conversation").setAttribute("aria-busy", String(isBusy));
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = at("message").value;
  if (running || !text.trim()) return;
  at("message").value = "";
  ask(text);
});

at("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("composer").requestSubmit();
  }
});

at("stop").addEventListener("click", () => {
  running?.abort();
  at("message").focus();
});

at("new").addEventListener("click", () => {
  running?.abort();
  messages = [];
  isFull = false;
  save();
  at("conversation").replaceChildren();
  at("empty").hidden = false;
  at("message").focus();
});

at("toggle").addEventListener("click", () => {
  at("settings").hidden = !at("settings").hidden;
  at("toggle").setAttribute("aria-expanded", String(!at("settings").hidden));
});

at("settings").addEventListener("change", (event) => {
  const { id, value } = event.target;
  if (id === "api-key") {
    sessionStorage.setItem(id, value);
    showModel();
  } else {
    localStorage.setItem(id, value);
  }
});

async function showModel() {
  const response = await fetch("/v1/models", { headers: headers() });
  if (response.ok) at("model").textContent = (await response.json()).data[0].id;
}

restore();
showModel();
at("message").focus();
