"use strict";
// Files go to this machine's server, one after the other; its state is asked for.
const find = (selector) => document.querySelector(selector);
let sending = 0;

const pathOf = (name) => name.split("/").map(encodeURIComponent).join("/");

async function send(files) {
  const failures = [];
  for (const [n, { name, file }] of files.entries()) {
    find("#put").textContent = `Reading ${n + 1} of ${files.length}: ${name}`;
    const answer = await fetch(`api/files/${pathOf(name)}`, { method: "PUT",
      body: file });
    if (!answer.ok) failures.push(`${name}: ${(await answer.text()).trim()}`);
  }
  find("#put").textContent = failures.join("\n");
}

async function put(files) {
  sending += 1;
  try {
    await send(files);
  } finally {
    sending -= 1;
  }
  await refresh();
}

const isWanted = ({ name }) => !name.split("/").some((part) => part.startsWith("."));
const fromInput = (input) => [...input.files].map((file) => (
  { name: file.webkitRelativePath || file.name, file })).filter(isWanted);

// Files of what was dropped, folders included.
async function dropped(items) {
  const found = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      const file = await new Promise((done, fail) => { entry.file(done, fail); });
      found.push({ name: path + entry.name, file });
      return;
    }
    const reader = entry.createReader();
    for (;;) { // a reader gives a hundred at most at a time
      const part = await new Promise((done, fail) => { reader.readEntries(done, fail); });
      if (!part.length) return;
      for (const inside of part) await walk(inside, `${path}${entry.name}/`);
    }
  };
  // All are asked for first: the list is empty once the event is over. What comes from
  // another page rather than from the disk is a file without an entry.
  for (const [entry, file] of [...items].map((item) => (
    [item.webkitGetAsEntry(), item.getAsFile()]))) {
    if (entry) await walk(entry, "");
    else if (file) found.push({ name: file.name, file });
  }
  return found.filter(isWanted);
}

function cell(text, isName) {
  const made = document.createElement("td");
  made.textContent = text;
  if (isName) made.className = "name";
  return made;
}

function link(address, text) {
  const made = document.createElement("a");
  made.href = `results/${address}`;
  made.textContent = text;
  return made;
}

function showRows(rows) {
  find("#found").hidden = !rows.length;
  const counted = rows.some((row) => row.count !== null);
  const sizes = [...new Set(rows.flatMap((row) => Object.keys(row.sizes)))];
  const heads = ["Scan", "Status", ...(counted ? ["Objects"] : []), ...sizes,
    "Remarks"];
  const head = document.createElement("tr");
  for (const [n, text] of heads.entries()) {
    const made = document.createElement("th");
    made.textContent = text;
    if (n < 2 || n === heads.length - 1) made.className = "text";
    head.append(made);
  }
  find("#rows thead").replaceChildren(head);
  find("#rows tbody").replaceChildren(...rows.map((row) => {
    const line = document.createElement("tr");
    const name = cell(row.viewer ? "" : row.name, true);
    if (row.viewer) name.append(link(row.viewer, row.name));
    const status = cell("");
    status.className = "text";
    const pill = document.createElement("span");
    const isBad = row.suspect || row.status === "failed";
    pill.className = `pill ${isBad ? "bad" : "quiet"}`;
    pill.textContent = row.suspect ? "suspect" : row.status;
    status.append(pill);
    const remarks = cell(row.remarks.join("; "));
    remarks.className = "text";
    const amounts = [...(counted ? [row.count ?? "–"] : []),
      ...sizes.map((size) => row.sizes[size] ?? "–")];
    line.append(name, status, ...amounts.map((amount) => cell(amount)), remarks);
    return line;
  }));
  find("#pictures").replaceChildren(...rows.filter((row) => row.picture).map((row) => {
    const figure = document.createElement("figure");
    const picture = document.createElement("img");
    picture.src = `results/${pathOf(row.picture)}`;
    picture.alt = `Outlines of ${row.name}`;
    const around = row.viewer ? link(row.viewer, "") : document.createElement("span");
    around.append(picture);
    const caption = document.createElement("figcaption");
    caption.textContent = row.count === null ? row.name
      : `${row.name}: ${row.count} objects`;
    figure.append(around, caption);
    return figure;
  }));
}

let shown = "";
async function refresh() {
  const state = await (await fetch("api/state")).json();
  const count = state.files;
  if (!sending && !find("#put").textContent.includes(":")) {
    find("#put").textContent = count ? `${count} ${count === 1 ? "file" : "files"} here`
      : "";
  }
  find("#start").disabled = !count || state.running || sending > 0;
  find("#bar").hidden = !state.running;
  if (state.total) find("#bar").value = state.done / state.total;
  else find("#bar").removeAttribute("value");
  const doing = state.total ? `Segmenting: ${state.done} of ${state.total}`
    : "Loading the model …";
  find("#said").textContent = [state.failure, ...(state.running ? [doing] : []),
    ...state.lines].filter(Boolean).join("\n");
  find("#report").hidden = state.running;
  const rows = JSON.stringify(state.rows);
  if (rows !== shown) showRows(state.rows);
  shown = rows;
  if (state.running) setTimeout(refresh, 500);
  document.documentElement.dataset.state = state.running ? "running" : "idle";
}

find("#start").addEventListener("click", async () => {
  find("#start").disabled = true;
  const answer = await fetch("api/jobs", { method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ model: find("#model").value }) });
  if (!answer.ok) find("#said").textContent = (await answer.text()).trim();
  else await refresh();
});
for (const [button, input] of [["#pick-files", "#files"], ["#pick-folder", "#folder"]]) {
  find(button).addEventListener("click", () => find(input).click());
  find(input).addEventListener("change", () => put(fromInput(find(input))));
}
find("#drop").addEventListener("dragover", (event) => {
  event.preventDefault();
  find("#drop").classList.add("over");
});
find("#drop").addEventListener("dragleave", () => find("#drop").classList.remove("over"));
find("#drop").addEventListener("drop", async (event) => {
  event.preventDefault();
  find("#drop").classList.remove("over");
  put(await dropped(event.dataTransfer.items));
});
refresh();
