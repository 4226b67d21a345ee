"use strict";
// Draws a picture, or a scan of one slice, on a canvas with zoom.
//
// Lines run along the edges of pixels and stay equally thick at every zoom.
const channelsOf = (color) => [1, 3, 5].map((n) => parseInt(color.slice(n, n + 2), 16));

// The slice as rows from top to bottom: pictures as they are, scans as radiologists
// look at them (the patient's right, or anterior, on the left; anterior or superior
// on top).
function flatten(content) {
  const { shape, isPicture } = content;
  const thin = isPicture ? 2 : shape.indexOf(1);
  const [across, down] = [0, 1, 2].filter((axis) => axis !== thin);
  const strides = [1, shape[0], shape[0] * shape[1]];
  const size = [shape[across], shape[down]];
  const turned = (axis, n) => (isPicture ? n : shape[axis] - 1 - n);
  const voxel = (column, row) => {
    const place = [0, 0, 0];
    place[across] = turned(across, column);
    place[down] = turned(down, row);
    return place;
  };
  const at = (column, row) => voxel(column, row).reduce(
    (sum, n, axis) => sum + n * strides[axis], 0);
  const length = (axis) => Math.hypot(...[0, 1, 2].map((r) => content.affine[r][axis]));
  const letters = isPicture || content.isLost ? "" : ["APSI", "RLSI", "RLAP"][thin];
  return { size, voxel, at, letters, aspect: length(down) / length(across) };
}

// Edges between pixels whose labels differ, as a path; `isShown` says which count.
function outline(map, [width, height], isShown) {
  const path = new Path2D();
  const value = (column, row) => {
    if (column < 0 || row < 0 || column >= width || row >= height) return 0;
    const found = map[row * width + column];
    return found && isShown(found) ? found : 0;
  };
  for (let row = 0; row <= height; row += 1) {
    let begun = -1; // edges in one line become one stroke
    for (let column = 0; column <= width; column += 1) {
      const differs = column < width && value(column, row - 1) !== value(column, row);
      if (differs && begun < 0) begun = column;
      if (!differs && begun >= 0) {
        path.moveTo(begun, row);
        path.lineTo(column, row);
        begun = -1;
      }
    }
  }
  for (let column = 0; column <= width; column += 1) {
    let begun = -1;
    for (let row = 0; row <= height; row += 1) {
      const differs = row < height && value(column - 1, row) !== value(column, row);
      if (differs && begun < 0) begun = row;
      if (!differs && begun >= 0) {
        path.moveTo(column, begun);
        path.lineTo(column, row);
        begun = -1;
      }
    }
  }
  return path;
}

async function makeView(canvas, { content, labels, images, errors, state, showPoint }) {
  const slice = flatten(content);
  const [width, height] = slice.size;
  const inRows = (voxels) => {
    const found = new voxels.constructor(width * height);
    for (let row = 0; row < height; row += 1) {
      for (let column = 0; column < width; column += 1) {
        found[row * width + column] = voxels[slice.at(column, row)];
      }
    }
    return found;
  };
  const pixels = images.map(inRows);
  const maps = Object.fromEntries(
    Object.entries(labels).map(([name, voxels]) => [name, inRows(voxels)]));
  const wrong = errors && inRows(errors.kinds);
  const layer = () => Object.assign(document.createElement("canvas"), { width, height });
  const scan = layer();
  const place = { scale: 1, left: 0, top: 0 };
  let fills = {}, lines = {}, waiting = false;

  const structureOf = (label) => (content.objects ? 1 : label);
  const isShown = (label) => !state.hidden.has(structureOf(label));
  const colorOf = (name, label) => (content.objects
    ? (name === "reference" ? content.fillColor : content.lineColor)
    : content.structures[label - 1].color);

  function drawScan() {
    const context = scan.getContext("2d");
    const shown = context.createImageData(width, height);
    const channels = content.isColour ? [0, 1, 2] : Array(3).fill(state.channel);
    channels.forEach((channel, place) => {
      const { slope, intercept } = content.images[channel];
      const [low, high] = state.windows[content.isColour ? 0 : channel];
      const scale = 255 * slope / (high - low), shift = 255 * (intercept - low)
        / (high - low);
      const values = pixels[channel];
      for (let n = 0; n < values.length; n += 1) {
        shown.data[4 * n + place] = values[n] * scale + shift; // clamped and rounded
      }
    });
    for (let n = 3; n < shown.data.length; n += 4) shown.data[n] = 255;
    context.putImageData(shown, 0, 0);
  }

  function fillOf(map, colors) {
    const found = layer();
    const context = found.getContext("2d");
    const shown = context.createImageData(width, height);
    for (let n = 0; n < map.length; n += 1) {
      const color = map[n] && colors(map[n]);
      if (!color) continue;
      shown.data.set(color, 4 * n);
      shown.data[4 * n + 3] = 255;
    }
    context.putImageData(shown, 0, 0);
    return found;
  }

  const tables = new Map();
  const tableOf = (color) => {
    if (!tables.has(color)) tables.set(color, channelsOf(color));
    return tables.get(color);
  };
  const errorColors = content.errorColors;

  function fill(name) {
    fills[name] ??= name === "errors"
      ? fillOf(wrong, (kind) => tableOf(errorColors[kind - 1]))
      : fillOf(maps[name], (label) => isShown(label) && tableOf(colorOf(name, label)));
    return fills[name];
  }

  // Colours and paths of a map's lines: one for all objects, or one per structure.
  function linesOf(name) {
    if (!lines[name]) {
      const kinds = content.objects ? [1]
        : content.structures.map((structure) => structure.index);
      lines[name] = kinds.filter((kind) => !state.hidden.has(kind)).map((kind) => ({
        color: content.objects ? colorOf(name, 1) : colorOf(name, kind),
        path: outline(maps[name], slice.size,
          content.objects ? () => true : (label) => label === kind),
      }));
    }
    return lines[name];
  }

  function draw() {
    waiting = false;
    const dense = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = canvas;
    if (canvas.width !== Math.round(clientWidth * dense)
      || canvas.height !== Math.round(clientHeight * dense)) {
      canvas.width = Math.round(clientWidth * dense);
      canvas.height = Math.round(clientHeight * dense);
    }
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#101318";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.setTransform(place.scale * dense, 0, 0, place.scale * dense * slice.aspect,
      place.left * dense, place.top * dense);
    context.imageSmoothingEnabled = place.scale < 1;
    context.drawImage(scan, 0, 0);
    if (!state.alone) drawLabels(context);
    drawLetters(context, dense);
  }

  function drawLabels(context) {
    if (state.errors) {
      context.globalAlpha = Math.max(state.opacity, 0.75);
      context.drawImage(fill("errors"), 0, 0);
      context.globalAlpha = 1;
      return;
    }
    context.imageSmoothingEnabled = false;
    for (const name of ["reference", "prediction"]) {
      if (!maps[name]) continue;
      const way = state.as[name];
      if (way.includes("fill")) {
        context.globalAlpha = state.opacity;
        context.drawImage(fill(name), 0, 0);
        context.globalAlpha = 1;
      }
      if (way.includes("line") || (content.objects && way === "fill")) {
        context.lineCap = "square";
        context.lineWidth = (way.includes("line") ? 2 : 1) / place.scale;
        for (const { color, path } of linesOf(name)) {
          context.strokeStyle = color;
          context.stroke(path);
        }
      }
    }
  }

  function drawLetters(context, dense) {
    if (!slice.letters) return;
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.font = "bold 14px system-ui, sans-serif";
    context.fillStyle = "#e8ebef";
    context.textAlign = "center";
    context.textBaseline = "middle";
    const { clientWidth, clientHeight } = canvas;
    const [left, right, top, bottom] = slice.letters;
    context.fillText(left, 14, clientHeight / 2);
    context.fillText(right, clientWidth - 14, clientHeight / 2);
    context.fillText(top, clientWidth / 2, 14);
    context.fillText(bottom, clientWidth / 2, clientHeight - 14);
  }

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  function fit() {
    const across = canvas.clientWidth / width;
    const down = canvas.clientHeight / (height * slice.aspect);
    place.scale = Math.min(across, down);
    place.left = (canvas.clientWidth - place.scale * width) / 2;
    place.top = (canvas.clientHeight - place.scale * height * slice.aspect) / 2;
    redraw();
  }

  // Zooms with a point of the canvas kept where it is.
  function zoomAt(factor, x, y) {
    const scale = Math.min(64, Math.max(0.02, place.scale * factor));
    place.left = x - (x - place.left) * scale / place.scale;
    place.top = y - (y - place.top) * scale / place.scale;
    place.scale = scale;
    redraw();
  }

  const pixelAt = (x, y) => [Math.floor((x - place.left) / place.scale),
    Math.floor((y - place.top) / (place.scale * slice.aspect))];
  const isInside = ([column, row]) => column >= 0 && row >= 0 && column < width
    && row < height;
  const pointers = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
  });
  const forget = (event) => pointers.delete(event.pointerId);
  canvas.addEventListener("pointerup", forget);
  canvas.addEventListener("pointercancel", forget);
  canvas.addEventListener("pointermove", (event) => {
    const here = [event.offsetX, event.offsetY];
    const before = pointers.get(event.pointerId);
    if (before && pointers.size === 1) {
      place.left += here[0] - before[0];
      place.top += here[1] - before[1];
      redraw();
    } else if (before && pointers.size === 2) { // two fingers
      const [, other] = [...pointers].find(([id]) => id !== event.pointerId);
      const distance = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
      zoomAt(distance(here) / Math.max(1, distance(before)), ...other);
    }
    if (before) pointers.set(event.pointerId, here);
    const pixel = pixelAt(...here);
    if (isInside(pixel)) showPoint(slice.voxel(...pixel));
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.offsetX, event.offsetY);
  }, { passive: false });
  new ResizeObserver(fit).observe(canvas);

  return {
    look: redraw,
    structures() {
      fills = { errors: fills.errors };
      lines = {};
      redraw();
    },
    window() {
      drawScan();
      redraw();
    },
    channel() {
      drawScan();
      redraw();
    },
    plane() {},
    step() {},
    zoom(factor) {
      zoomAt(factor, canvas.clientWidth / 2, canvas.clientHeight / 2);
    },
    reset: fit,
    goTo: showPoint,
    ready() {
      drawScan();
      fit();
      showPoint(content.start);
    },
  };
}
