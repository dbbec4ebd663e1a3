// Optional enhancements: every page works without this script.
"use strict";

// Ctrl+Enter submits the form.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  const form = event.target.closest("form");
  if (form) form.requestSubmit();
});

// Show that a form is being submitted, and submit it once.
for (const form of document.querySelectorAll("form[data-busy]")) {
  const button = form.querySelector("button");
  const words = button.textContent;
  form.addEventListener("submit", () => {
    button.disabled = true;
    button.textContent = form.dataset.busy;
  });
  addEventListener("pageshow", () => {
    button.disabled = false;
    button.textContent = words;
  });
}

// Send feedback without leaving the answer, which has no address to return to.
for (const form of document.querySelectorAll("form.feedback")) {
  const said = form.querySelector("[role=status]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const filled = new FormData(form);
    if (!filled.get("helpful") && !filled.get("corrected")) {
      said.textContent = "Say whether the answer helped, or which letter is right.";
      return;
    }
    try {
      const body = new URLSearchParams(filled);
      const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
      if (answer.type === "opaqueredirect") {
        said.textContent = form.dataset.thanks;
        return;
      }
    } catch {
      // The endpoint is unreachable; the browser's own page says so.
    }
    form.submit();
  });
}

// How long an item is still held.
for (const line of document.querySelectorAll(".held[data-until]")) {
  const left = line.querySelector(".left");
  const until = Date.parse(line.dataset.until);
  const tick = setInterval(() => {
    const seconds = Math.ceil((until - Date.now()) / 1000);
    if (seconds > 0) {
      left.textContent = `, for ${seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`}`;
      return;
    }
    clearInterval(tick);
    line.setAttribute("role", "alert");
    line.textContent = "The time is over: whoever claims this item next decides it.";
  }, 5000);
}
