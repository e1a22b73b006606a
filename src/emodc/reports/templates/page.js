"use strict";
// A click on a heading sorts its table: numbers by size, texts by letter, empty cells last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
  const body = table.tBodies[0];
  const value = (row, column) => row.cells[column].textContent.trim();
  const number = (text) => {
    const found = text.replace(/,/g, "").match(/^[-+\u2212]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return found ? parseFloat(found[0].replace("\u2212", "-")) : NaN;
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const rows = Array.from(body.rows);
      const cells = rows.map((row) => value(row, column));
      const numeric = cells.some((text) => !isNaN(number(text))) &&
        cells.every((text) => !isNaN(number(text)) || /^[-\u2013n/a]*$/.test(text));
      const falls = head.getAttribute("aria-sort") !== "descending" && numeric ||
        head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const sign = falls ? -1 : 1;
      rows.sort((a, b) => {
        const x = value(a, column), y = value(b, column);
        if (!numeric) return sign * x.localeCompare(y);
        const p = number(x), q = number(y);
        if (isNaN(p) || isNaN(q)) return isNaN(p) - isNaN(q);
        return sign * (p - q);
      });
      rows.forEach((row) => body.appendChild(row));
    });
  });
}
