"use strict";
// A heading of the last head row becomes a button: sorted one way, the other, and as it came.
for (const table of document.querySelectorAll("table.sort")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  if (rows.length < 3) continue;
  heads.forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("n");
      const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
      const now = head.getAttribute("aria-sort");
      const next = now === null ? first : now === first ? second : null;
      for (const other of heads) other.removeAttribute("aria-sort");
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(rows, place, numeric, next === "ascending" ? 1 : -1) : rows));
    });
  });
}

// Sort rows by one column, equal ones as they came, empty ones last either way.
function sorted(rows, place, numeric, sign) {
  const keys = new Map(rows.map((row) => {
    const cell = row.cells[place];
    const text = (cell.dataset.sort ?? cell.textContent).trim();
    return [row, numeric ? (text === "" ? NaN : Number(text)) : text];
  }));
  const empty = (key) => key === "" || Number.isNaN(key);
  return [...rows].sort((a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    if (empty(x) || empty(y)) return empty(x) - empty(y);
    return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
  });
}

// On paper nothing can be opened: open all that is closed, and close it again afterwards.
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const details of closed) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of closed) details.open = false;
});
