"use strict";
// The panel beside a case: what is shown of it, and what lies under the crosshair.
const content = JSON.parse(document.getElementById("content").textContent);
const find = (selector) => document.querySelector(selector);
const ARRAYS = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  uint32: Uint32Array };
const CT_WINDOWS = { "soft tissue": [-160, 240], lung: [-1350, 150],
  bone: [-450, 1050], brain: [0, 80] };
const MAPS = Object.keys(content.labelTypes);

async function unpack(id) {
  const element = document.getElementById(id);
  const text = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(text.length);
  for (let n = 0; n < text.length; n += 1) bytes[n] = text.charCodeAt(n);
  const stream = new Blob([bytes]).stream();
  const plain = stream.pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).arrayBuffer();
}

// Which kind of error each voxel is: 0 none, 1 missed, 2 invented, 3 confused.
function errorKinds(labels) {
  const { prediction, reference } = labels;
  const kinds = new Uint8Array(prediction.length);
  const counts = { missed: 0, invented: 0, confused: 0 };
  const names = Object.keys(counts);
  for (let n = 0; n < kinds.length; n += 1) {
    const here = prediction[n], there = reference[n];
    if (here === there || (content.objects && here && there)) continue;
    kinds[n] = !here ? 1 : !there ? 2 : 3;
    counts[names[kinds[n] - 1]] += 1;
  }
  return { kinds, counts };
}

function determinant(m) {
  return m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
    - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
    + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
}

const apply4 = (matrix, v) => matrix.slice(0, 3).map(
  (row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2] + row[3]);

function amountInWords(count) {
  if (content.isPicture) return `${count.toLocaleString("en")} px`;
  const ml = count * Math.abs(determinant(content.affine)) / 1000;
  return `${Number(ml.toPrecision(3))} ml`;
}

function labelInWords(labels, at) {
  return MAPS.map((name) => {
    const value = labels[name][at];
    const called = content.called[name];
    if (!value) return `${called}: –`;
    const structure = content.structures[content.objects ? 0 : value - 1].name;
    return `${called}: ${structure}${content.objects ? ` ${value}` : ""}`;
  });
}

async function start() {
  const labels = {};
  for (const name of MAPS) {
    labels[name] = new ARRAYS[content.labelTypes[name]](await unpack(name));
  }
  const images = [];
  for (const [n, image] of content.images.entries()) {
    images.push(new ARRAYS[image.type](await unpack(`image-${n}`)));
  }
  const errors = MAPS.length === 2 ? errorKinds(labels) : null;
  const state = {
    as: { prediction: "off", reference: "off" },
    opacity: 0.4, errors: false, alone: false, hidden: new Set(), channel: 0,
    windows: content.images.map((image) => [image.low, image.high]),
  };

  const showPoint = (voxel) => {
    const [width, height] = content.shape;
    const at = voxel[0] + width * (voxel[1] + height * voxel[2]);
    const shown = content.isColour ? content.images.map((_, n) => n) : [state.channel];
    const values = shown.map((n) => {
      const { slope, intercept } = content.images[n];
      return Number((images[n][at] * slope + intercept).toPrecision(6));
    });
    const file = apply4(content.toFile, voxel).map(Math.round);
    const place = content.isPicture ? `column ${file[0]}, row ${file[1]}`
      : `${apply4(content.affine, voxel).map((x) => x.toFixed(1)).join(", ")} mm (RAS)`
        + ` · voxel ${file.join(", ")}`;
    find("#point").textContent = [place, `value ${values.join(", ")}`,
      ...labelInWords(labels, at)].join("\n");
  };

  const view = await makeView(find("#view"), { content, labels, images, errors, state,
    showPoint, showWindow: () => showWindow(state) });
  connect(state, view, errors);
  view.ready();
  globalThis.medseg = { view, state }; // for the browser's console
  document.documentElement.dataset.ready = "yes";
}

function showWindow(state) {
  [find("#low").value, find("#high").value] = state.windows[state.channel]
    .map((x) => Number(x.toPrecision(5)));
}

function connect(state, view, errors) {
  for (const name of MAPS) {
    const choice = find(`#${name}-as`);
    state.as[name] = choice.value;
    choice.addEventListener("change", () => {
      state.as[name] = choice.value;
      view.look();
    });
  }
  find("#opacity").addEventListener("input", (event) => {
    state.opacity = Number(event.target.value);
    view.look();
  });
  for (const box of document.querySelectorAll("[data-structure]")) {
    box.addEventListener("change", () => {
      const index = Number(box.dataset.structure);
      if (box.checked) state.hidden.delete(index);
      else state.hidden.add(index);
      view.structures();
    });
  }
  if (errors) {
    for (const [kind, count] of Object.entries(errors.counts)) {
      find(`[data-error="${kind}"]`).textContent = amountInWords(count);
    }
    find("#errors").addEventListener("change", (event) => {
      state.errors = event.target.checked;
      find("#error-legend").hidden = !state.errors;
      view.look();
    });
  }
  if (find("#channel")) {
    find("#channel").addEventListener("change", (event) => {
      state.channel = Number(event.target.value);
      showWindow(state);
      view.channel();
    });
  }
  for (const [place, id] of ["#low", "#high"].entries()) {
    find(id).addEventListener("change", (event) => {
      const value = Number(event.target.value);
      if (Number.isFinite(value)) state.windows[state.channel][place] = value;
      view.window();
    });
  }
  const image = content.images[0];
  const windows = { automatic: null, "full range": [image.lowest, image.highest],
    ...(image.lowest < -500 ? CT_WINDOWS : {}) };
  for (const [name, ends] of Object.entries(windows)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      const { low, high, lowest, highest } = content.images[state.channel];
      state.windows[state.channel] = name === "full range" ? [lowest, highest]
        : [...(ends ?? [low, high])];
      showWindow(state);
      view.window();
    });
    find("#windows").append(button);
  }
  for (const button of document.querySelectorAll("#planes button")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll("#planes button")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      view.plane(button.dataset.key);
    });
  }
  showWindow(state);
  document.addEventListener("keydown", (event) => onKey(event, state, view),
    true);
}

function onKey(event, state, view) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=number], select")) return;
  const toggle = (box) => box && box.click();
  const cycle = (choice) => {
    if (!choice) return;
    choice.selectedIndex = (choice.selectedIndex + 1) % choice.options.length;
    choice.dispatchEvent(new Event("change"));
  };
  const fade = (change) => {
    find("#opacity").value = Number(find("#opacity").value) + change;
    find("#opacity").dispatchEvent(new Event("input"));
  };
  const key = event.key.toLowerCase();
  const actions = {
    p: () => cycle(find("#prediction-as")),
    r: () => cycle(find("#reference-as")),
    e: () => toggle(find("#errors")),
    "[": () => fade(-0.1),
    "]": () => fade(0.1),
    " ": () => { state.alone = !state.alone; view.look(); },
    "+": () => view.zoom(1.25),
    "=": () => view.zoom(1.25),
    "-": () => view.zoom(0.8),
    0: () => view.reset(),
    arrowup: () => view.step(1),
    arrowdown: () => view.step(-1),
    pageup: () => view.step(5),
    pagedown: () => view.step(-5),
  };
  const act = actions[key]
    ?? (/^[1-9]$/.test(key) && find(`[data-structure="${key}"]`)
      ? () => toggle(find(`[data-structure="${key}"]`)) : null)
    ?? (find(`#planes [data-key="${key}"]`)
      ? () => find(`#planes [data-key="${key}"]`).click() : null);
  if (!act) return;
  event.preventDefault();
  event.stopPropagation(); // NiiVue has keys of its own
  act();
}

start().catch((error) => {
  find("#trouble").textContent = String(error.message ?? error);
  console.error(error);
});
