"use strict";
// Draws a volume with NiiVue: https://github.com/niivue/niivue
//
// The reference is an overlay and the prediction a drawing in NiiVue's words; a slice
// shader of our own gives both a fill and a line as thick as asked for on the screen,
// drawn inside the structure.
const SLICES = `#version 300 es
precision highp int;
precision highp float;
// NiiVue finds uniforms that stand alone in a line.
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform highp sampler3D drawing;
uniform highp sampler2D colormap;
uniform float overlays;
uniform vec2 predictionLook;
uniform vec2 overlayLook;
uniform float lineWidth;
in vec3 texPos;
out vec4 color;
ivec3 voxelAt(vec3 place, ivec3 size) {
  return clamp(ivec3(floor(place * vec3(size))), ivec3(0), size - 1);
}
bool isOutside(vec3 place) {
  return any(lessThan(place, vec3(0.0))) || any(greaterThan(place, vec3(1.0)));
}
vec4 predictionAt(vec3 place) {
  if (isOutside(place)) return vec4(0.0);
  ivec3 size = textureSize(drawing, 0);
  float index = texelFetch(drawing, voxelAt(place, size), 0).r;
  if (index == 0.0) return vec4(0.0);
  float layers = float(textureSize(colormap, 0).y);
  vec2 entry = vec2((index * 255.0 + 0.5) / 256.0, (layers - 0.5) / layers);
  vec4 found = texture(colormap, entry);
  return found.a > 0.0 ? vec4(found.rgb, index) : vec4(0.0);
}
vec4 overlayAt(vec3 place) {
  if (isOutside(place) || overlays < 1.0) return vec4(0.0);
  vec4 found = texelFetch(overlay, voxelAt(place, textureSize(overlay, 0)), 0);
  return found.a > 0.02 ? vec4(found.rgb, 1.0) : vec4(0.0);
}
void main() {
  color = vec4(texture(volume, texPos).rgb, 1.0);
  vec3 across = dFdx(texPos) * lineWidth, down = dFdy(texPos) * lineWidth;
  vec3 around[8] = vec3[8](across, -across, down, -down, 0.7 * (across + down),
    0.7 * (across - down), 0.7 * (down - across), -0.7 * (across + down));
  vec4 below = overlayAt(texPos), above = predictionAt(texPos);
  bool isBelowEdge = false, isAboveEdge = false;
  for (int n = 0; n < 8; n++) {
    isBelowEdge = isBelowEdge || distance(overlayAt(texPos + around[n]), below) > 0.01;
    isAboveEdge = isAboveEdge || predictionAt(texPos + around[n]) != above;
  }
  float share = isBelowEdge ? max(overlayLook.x, overlayLook.y) : overlayLook.x;
  if (below.a > 0.0) color.rgb = mix(color.rgb, below.rgb, share);
  share = isAboveEdge ? max(predictionLook.x, predictionLook.y) : predictionLook.x;
  if (above.a > 0.0) color.rgb = mix(color.rgb, above.rgb, share);
}`;
const OBJECT_COLORS = 250;

const channelsOf = (color) => [1, 3, 5].map((n) => parseInt(color.slice(n, n + 2), 16));

// A color table: entry n for label n, invisible where it is not wanted.
function colorTable(colors, isShown) {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  colors.forEach((color, place) => {
    const [red, green, blue] = channelsOf(color);
    table.R.push(red);
    table.G.push(green);
    table.B.push(blue);
    table.A.push(isShown(place + 1) ? 255 : 0);
    table.I.push(place + 1);
    table.labels.push("");
  });
  return table;
}

async function loadScript() {
  const carried = document.getElementById("niivue-script");
  if (globalThis.niivue || !carried) return;
  const text = new TextDecoder().decode(await unpack("niivue-script"));
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
}

// A NIfTI file in memory: the scan's header with another type, and voxels.
function niftiOf(header, voxels, { bytes, isLabels }) {
  const file = new Uint8Array(header.length + voxels.byteLength);
  file.set(header);
  file.set(new Uint8Array(voxels.buffer, voxels.byteOffset, voxels.byteLength),
    header.length);
  if (isLabels) {
    const fields = new DataView(file.buffer);
    fields.setInt16(70, 2, true); // uint8
    fields.setInt16(72, 8 * bytes, true);
    fields.setFloat32(112, 1, true);
    fields.setFloat32(116, 0, true);
  }
  return file.buffer;
}

async function makeView(canvas, { content, labels, images, errors, state, showPoint,
  showWindow }) {
  await loadScript();
  if (!globalThis.niivue) {
    throw new Error("The script that draws volumes is missing: it lies beside this "
      + "page in the folder that medseg wrote. Keep the folder together, or make a "
      + "page that stands alone with `medseg view SCAN LABELS -o page.html`.");
  }
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("This browser cannot draw volumes: WebGL 2 is missing or off.");
  }
  const { Niivue, NVImage, SLICE_TYPE, SHOW_RENDER, DRAG_MODE,
    MULTIPLANAR_TYPE } = globalThis.niivue;
  const PLANES = { m: SLICE_TYPE.MULTIPLANAR, a: SLICE_TYPE.AXIAL,
    c: SLICE_TYPE.CORONAL, s: SLICE_TYPE.SAGITTAL, d: SLICE_TYPE.RENDER };
  const viewer = new Niivue({
    logLevel: "error", backColor: [0.063, 0.075, 0.094, 1],
    isRadiologicalConvention: true, sagittalNoseLeft: true,
    isOrientationTextVisible: !content.isLost, fontColor: [0.91, 0.92, 0.94, 1],
    showAllOrientationMarkers: true, crosshairColor: [0.91, 0.92, 0.94, 0.75],
    crosshairWidthUnit: "percent", crosshairWidth: 0.5, crosshairGap: 4,
    multiplanarShowRender: SHOW_RENDER.ALWAYS, multiplanarPadPixels: 4,
    multiplanarLayout: MULTIPLANAR_TYPE.GRID,
    dragAndDropEnabled: false, viewModeHotKey: "", clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "", isAntiAlias: true, maxDrawUndoBitmaps: 1,
    mouseEventConfig: { leftButton: { primary: DRAG_MODE.crosshair,
      withShift: DRAG_MODE.pan }, rightButton: DRAG_MODE.none,
    centerButton: DRAG_MODE.pan },
  });
  viewer.onLocationChange = (place) => {
    showPoint(place.vox.map((x, axis) => Math.min(content.shape[axis] - 1,
      Math.max(0, Math.round(x)))));
  };
  await viewer.attachToCanvas(canvas);
  canvas.addEventListener("mousemove", (event) => {
    if (!(event.buttons & 2) || !viewer.volumes.length) return; // the right button
    const { lowest, highest } = content.images[state.channel];
    const step = (highest - lowest) / 400;
    const [low, high] = state.windows[state.channel];
    const half = Math.max(step / 4, (high - low) / 2 + event.movementX * step);
    const middle = (low + high) / 2 - event.movementY * step;
    const scan = viewer.volumes[0];
    [scan.cal_min, scan.cal_max] = [middle - half, middle + half];
    state.windows[state.channel] = [scan.cal_min, scan.cal_max];
    viewer.refreshLayers(scan, 0);
    viewer.drawScene();
    showWindow();
  });

  const headers = content.images.map((image) =>
    Uint8Array.from(atob(image.header), (letter) => letter.charCodeAt(0)));
  const indices = (map) => (content.objects
    ? Uint8Array.from(map, (n) => (n ? 1 + (n - 1) % OBJECT_COLORS : 0)) : map);
  const makeImage = (header, voxels, name, more) => NVImage.new(
    niftiOf(header, voxels, more), `${name}.nii`, "gray", 1);
  const scans = [];
  for (const [n, voxels] of images.entries()) {
    const scan = await makeImage(headers[n], voxels, `scan ${n}`, {});
    [scan.cal_min, scan.cal_max] = state.windows[n];
    scans.push(scan);
  }
  const asLabels = { bytes: 1, isLabels: true };
  const isShown = (index) => !state.hidden.has(content.objects ? 1 : index);
  const colors = (single) => (content.objects ? Array(OBJECT_COLORS).fill(single)
    : content.structures.map((structure) => structure.color));
  let reference = null, wrong = null;
  viewer.addVolume(scans[0]);
  scans[0].opacity = 0; // in 3D, where it would hide the structures
  if (labels.reference) {
    reference = await makeImage(headers[0], indices(labels.reference), "reference",
      asLabels);
    reference.setColormapLabel(colorTable(colors(content.fillColor), isShown));
    viewer.addVolume(reference);
  }
  if (errors) {
    wrong = await makeImage(headers[0], errors.kinds, "errors", asLabels);
    wrong.setColormapLabel(colorTable(content.errorColors, () => true));
    wrong.opacity = 0;
    viewer.addVolume(wrong);
  }
  if (labels.prediction) {
    viewer.setDrawColormap(colorTable(colors(content.lineColor), isShown));
    viewer.loadDrawing(await makeImage(headers[0], indices(labels.prediction),
      "prediction", asLabels));
  }
  viewer.setCustomSliceShader(SLICES);

  const lookOf = (way) => [way.includes("fill") ? state.opacity : 0,
    way.includes("line") ? 1 : 0];
  const look = () => {
    const above = state.alone || state.errors ? "off" : state.as.prediction;
    const below = state.alone ? "off" : state.errors ? "fill" : state.as.reference;
    const shader = viewer.customSliceShader;
    shader.use(viewer.gl);
    viewer.gl.uniform2fv(shader.uniforms.predictionLook, lookOf(above));
    viewer.gl.uniform2fv(shader.uniforms.overlayLook,
      state.errors ? [Math.max(state.opacity, 0.75), 1] : lookOf(below));
    viewer.gl.uniform1f(shader.uniforms.lineWidth, 1.6 * (viewer.uiData.dpr ?? 1));
    if (reference) reference.opacity = below === "off" || state.errors ? 0 : 1;
    if (wrong) wrong.opacity = state.errors && !state.alone ? 1 : 0;
    viewer.drawOpacity = above === "off" ? 0 : 1;
    viewer.updateGLVolume();
  };

  return {
    look,
    structures() {
      if (reference) {
        reference.setColormapLabel(colorTable(colors(content.fillColor), isShown));
      }
      viewer.setDrawColormap(colorTable(colors(content.lineColor), isShown));
    },
    window() {
      const scan = viewer.volumes[0];
      [scan.cal_min, scan.cal_max] = state.windows[state.channel];
      viewer.updateGLVolume();
    },
    channel() {
      const scan = scans[state.channel];
      [scan.cal_min, scan.cal_max] = state.windows[state.channel];
      scan.opacity = 0;
      viewer.volumes[0] = scan;
      viewer.back = scan;
      viewer.updateGLVolume();
    },
    plane(key) {
      viewer.setSliceType(PLANES[key]);
    },
    zoom(factor) {
      const pan = viewer.scene.pan2Dxyzmm;
      viewer.setPan2Dxyzmm([pan[0], pan[1], pan[2],
        Math.min(20, Math.max(0.5, pan[3] * factor))]);
    },
    reset() {
      viewer.setPan2Dxyzmm([0, 0, 0, 1]);
      this.ready();
    },
    step(count) {
      const type = viewer.opts.sliceType;
      const axis = type === SLICE_TYPE.CORONAL ? 1 : type === SLICE_TYPE.SAGITTAL ? 0 : 2;
      const steps = [0, 0, 0];
      steps[axis] = count;
      viewer.moveCrosshairInVox(...steps);
    },
    goTo(voxel) {
      viewer.scene.crosshairPos = viewer.vox2frac(voxel);
      viewer.createOnLocationChange();
      viewer.drawScene();
    },
    ready() {
      this.goTo(content.start);
      look();
    },
  };
}
