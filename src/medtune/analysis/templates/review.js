// One item at a time. What is shown comes from "items", what is marked goes to "marks"; both are
// blind. Texts are set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
let items = [];
let marks = {};
let letters = "";
let at = 0;
let busy = false;

async function send(name, content) {
  let answer;
  try {
    answer = await fetch(name, content && {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(content),
    });
  } catch {
    throw new Error("Not saved: the page's server does not answer. Is it still running?");
  }
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

function tell(error) {
  $("trouble").textContent = error ? error.message : "";
  $("trouble").hidden = !error;
}

function only(section) {
  for (const id of ["asking", "item", "end"]) $(id).hidden = id !== section;
}

const marked = () => items.filter((item) => item.id in marks).length;
const open = () => items.findIndex((item) => !(item.id in marks));

function choicesOf(item) {
  const named = item.options.map((text, index) => ({ key: letters[index], choice: index, text }));
  return [
    ...named,
    { key: "N", choice: "none", text: "It names no option" },
    { key: "U", choice: "unsure", text: "It cannot be told" },
  ];
}

function button({ key, choice, text }, mark) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = choice === "none" ? "other first" : choice === "unsure" ? "other" : "";
  made.setAttribute("aria-pressed", String(mark !== undefined && mark.choice === choice));
  made.setAttribute("aria-keyshortcuts", key);
  const letter = document.createElement("kbd");
  letter.textContent = key;
  const label = document.createElement("span");
  label.textContent = text;
  made.append(letter, label);
  if (mark !== undefined && mark.choice === choice) {
    const tick = document.createElement("span");
    tick.className = "tick";
    tick.textContent = "✓ marked";
    made.append(tick);
  }
  made.addEventListener("click", () => choose(choice));
  return made;
}

function show(focus = true) {
  if (at >= items.length) return end();
  only("item");
  const item = items[at];
  const mark = marks[item.id];
  $("place").textContent = `Item ${at + 1} of ${items.length}`;
  count();
  $("stem").textContent = item.stem;
  const blank = item.text.trim() === "";
  $("text").textContent = blank ? "(nothing)" : item.text;
  $("text").classList.toggle("empty", blank);
  $("text").scrollTop = 0;
  $("choices").replaceChildren(...choicesOf(item).map((choice) => button(choice, mark)));
  $("note").value = mark ? mark.note : "";
  $("back").disabled = at === 0;
  history.replaceState(null, "", `#${at + 1}`);
  if (focus) {
    $("place").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function count() {
  $("count").textContent = `${marked()} of ${items.length} marked`;
  $("progress").max = items.length;
  $("progress").value = marked();
}

function end() {
  only("end");
  const left = items.length - marked();
  $("ended").textContent = left ? "The end, with gaps" : `All ${items.length} items are marked`;
  $("left").textContent = `${marked()} of ${items.length} are marked.`;
  $("left").hidden = !left;
  $("again").textContent = left ? "Go to the first open item" : "Look at them again";
  history.replaceState(null, "", "#end");
  $("ended").focus();
}

async function choose(choice) {
  if (busy) return;
  if (await save(choice)) {
    at += 1;
    show();
  }
}

async function save(choice) {
  const item = items[at];
  const mark = { choice, note: $("note").value.trim() };
  busy = true;
  try {
    await send("marks", { item: item.id, ...mark });
    marks[item.id] = mark;
    tell(null);
    return true;
  } catch (error) {
    tell(error);
    return false;
  } finally {
    busy = false;
  }
}

// A note that was changed after the choice belongs to it; without a choice there is nothing to save.
async function leave(step) {
  if (busy) return;
  const mark = marks[items[at]?.id];
  if (mark && $("note").value.trim() !== mark.note && !(await save(mark.choice))) return;
  at = Math.max(0, Math.min(items.length, at + step));
  show();
}

function begin(state) {
  ({ items, marks, letters } = state);
  if (state.reviewer === null) {
    only("asking");
    $("reviewer").focus();
    return;
  }
  const wanted = Number.parseInt(location.hash.slice(1), 10);
  const first = open();
  if (location.hash === "#end") at = items.length;
  else if (wanted >= 1 && wanted <= items.length) at = wanted - 1;
  else at = first < 0 ? items.length : first;
  show(false);
}

$("asking").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await send("reviewer", { name: $("reviewer").value.trim() });
    tell(null);
    begin(await send("items"));
  } catch (error) {
    tell(error);
  }
});
$("back").addEventListener("click", () => leave(-1));
$("forward").addEventListener("click", () => leave(1));
$("again").addEventListener("click", () => {
  at = Math.max(0, open());
  show();
});
$("note").addEventListener("change", () => {
  const mark = marks[items[at]?.id];
  if (mark && !busy && $("note").value.trim() !== mark.note) save(mark.choice);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
  if (event.target === $("note") && event.key === "Escape") {
    $("place").focus();
    return;
  }
  if (/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (!$("end").hidden && event.key === "ArrowLeft") {
    at = Math.max(0, items.length - 1);
    show();
  }
  if ($("item").hidden) return;
  if (event.key === "ArrowLeft") leave(-1);
  else if (event.key === "ArrowRight") leave(1);
  else if (event.key === "/") {
    event.preventDefault();
    $("note").focus();
  } else {
    const said = choicesOf(items[at]).find((choice) => choice.key === event.key.toUpperCase());
    if (said) choose(said.choice);
  }
});

send("items").then(begin, tell);
