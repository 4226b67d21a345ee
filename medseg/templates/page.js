"use strict";
// Sorts a table by a click on a head; empty cells stay last either way.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].dataset.sort;
      const numeric = [...body.rows].every((r) => key(r) === "" || !isNaN(key(r)));
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numeric ? x - y : x.localeCompare(y, undefined, { numeric: true });
        return up ? order : -order;
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
// Shows the rows that hold what is typed.
const filter = document.querySelector("#filter");
if (filter) {
  const rows = [...document.querySelector("#cases").tBodies[0].rows];
  const count = document.querySelector("#count");
  const update = () => {
    const wanted = filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  filter.addEventListener("input", update);
  update();
}
// Opens a picture in full.
const dialog = document.querySelector("dialog");
for (const button of document.querySelectorAll(".mosaic button")) {
  button.addEventListener("click", () => {
    dialog.querySelector("img").src = button.dataset.full;
    dialog.showModal();
  });
}
if (dialog) dialog.addEventListener("click", () => dialog.close());
document.documentElement.dataset.ready = "yes";
