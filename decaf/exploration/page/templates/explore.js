// The page of `decaf explore`: maps that are linked, lists of images, and a CSV of the chosen ones.
// Names reach the page by textContent alone, so that nothing in them is obeyed.
"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const n = data.names.length;
const byId = (id) => document.getElementById(id);

function unpacked(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((each) => each !== null && each !== ""));
  return made;
}

// ---- The images.

const labels = unpacked(data.labels, Int16Array);
const splits = data.splits && unpacked(data.splits.of, Int16Array);
const square = unpacked(data.sheets.square, Int32Array);
const sizes = unpacked(data.sheets.sizes, Uint8Array);
const head = data.head;
const answers = head && unpacked(head.answers, Int16Array);
const percent = head && unpacked(head.percent, Uint8Array);
const maps = data.maps.map((each) => ({
  layer: each.layer,
  k: each.k,
  xy: unpacked(each.xy, Uint16Array),
  trust: unpacked(each.trust, Uint8Array),
  nearest: unpacked(each.nearest, Uint32Array),
  cosines: unpacked(each.cosines, Int16Array),
}));
const chosen = new Uint8Array(n);
let current = -1; // the image that the keyboard is at, or the pointer over
let opened = -1;
let highlighted = -1; // a class
let wanted = ""; // part of a name
let colouring = "class";

const shortName = (i) => data.names[i].split("/").pop();
const className = (i) => (labels[i] < 0 ? "no class" : data.classes[labels[i]]);
const answerName = (i) => (head && answers[i] >= 0 ? head.classes[answers[i]] : "");
const wrong = (i) => head && head.heldOut && answers[i] >= 0 && labels[i] >= 0 && answers[i] !== labels[i];

function described(i) {
  const answer = answerName(i);
  const said = answer ? `, answered ${answer} ${percent[i]} %` : "";
  return `${data.names[i]}: ${className(i)}${said}${chosen[i] ? ", chosen" : ""}`;
}

// ---- Thumbnails, cut from sheets that are decoded when they are first needed.

const sheetImages = [];
const across = data.sheets.columns;
const perSheet = across * across;

function sheetOf(i) {
  const number = Math.floor(square[i] / perSheet);
  let sheet = sheetImages[number];
  if (!sheet) {
    sheet = { image: new Image(), ready: false, waiting: [] };
    sheetImages[number] = sheet;
    sheet.image.onload = () => {
      sheet.ready = true;
      for (const call of sheet.waiting.splice(0)) call();
    };
    sheet.image.src = data.sheets.uris[number];
  }
  return sheet;
}

function drawPicture(context, i, x, y, side) {
  const sheet = sheetOf(i);
  const at = square[i] % perSheet;
  const width = sizes[2 * i];
  const height = sizes[2 * i + 1];
  const scale = side / Math.max(width, height);
  context.drawImage(
    sheet.image,
    (at % across) * data.sheets.side, Math.floor(at / across) * data.sheets.side, width, height,
    x + (side - width * scale) / 2, y + (side - height * scale) / 2, width * scale, height * scale,
  );
}

const visible = "IntersectionObserver" in window ? new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    visible.unobserve(entry.target);
    entry.target.paint();
  }
}, { rootMargin: "300px" }) : null;

function picture(i) {
  if (square[i] < 0) return element("span", { class: "gone" }, shortName(i));
  const canvas = element("canvas", { width: 144, height: 144, "aria-hidden": "true" });
  canvas.paint = () => {
    const sheet = sheetOf(i);
    const draw = () => drawPicture(canvas.getContext("2d"), i, 0, 0, 144);
    if (sheet.ready) draw();
    else sheet.waiting.push(draw);
  };
  if (visible) visible.observe(canvas);
  else canvas.paint();
  return canvas;
}

function card(i, text, patch) {
  const name = element("span", { class: "name" }, shortName(i));
  const said = text ? element("span", { class: "text" }, text) : null;
  const made = element("button", {
    type: "button", class: "card", title: described(i), "aria-label": described(i),
    onclick: () => open(i, true),
  }, patch ? element("img", { src: patch, alt: "", loading: "lazy" }) : picture(i), said, name);
  made.addEventListener("pointerenter", () => hover(i));
  return made;
}

// Lists are long: some are shown, and a button shows more.
function gallery(place, items, make, step = 36) {
  place.textContent = "";
  let shown = 0;
  const more = element("button", { type: "button", class: "more" });
  function grow() {
    more.remove();
    for (const item of items.slice(shown, shown + step)) place.append(make(item));
    shown = Math.min(shown + step, items.length);
    if (shown < items.length) {
      more.textContent = `Show more (${items.length - shown})`;
      place.append(more);
    }
  }
  more.addEventListener("click", () => {
    const before = place.children.length - 1;
    grow();
    const first = place.children[before];
    const button = first && (first.matches("button") ? first : first.querySelector("button"));
    if (button) button.focus();
  });
  grow();
  if (!items.length) place.append(element("p", { class: "caption" }, "None."));
}

// ---- Colours and shapes of points: eight hues, then other shapes of the same hues.

const SHAPES = 4;
const HUES = 8;
const TRUST_STEPS = 5;
const CERTAIN_STEPS = 5;
let palette = {};
const dark = window.matchMedia("(prefers-color-scheme: dark)");

function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const named = (name) => style.getPropertyValue(`--${name}`).trim();
  const panel = parseInt(named("panel").slice(1), 16);
  const paper = ((255 << 24) | ((panel & 255) << 16) | (panel & 0xff00) | (panel >> 16)) >>> 0;
  palette = { hues: [], steps: [], ink: named("ink"), rule: named("rule"), soft: named("soft"), paper };
  stamps.clear();
  for (let k = 0; k < HUES; k++) palette.hues.push(named(`c${k}`));
  // From near the paper to full in one hue, which tells an order whatever colours a reader sees.
  const hue = named("hit").split(",").map(Number);
  const behind = [panel >> 16, (panel >> 8) & 255, panel & 255];
  for (let k = 0; k < TRUST_STEPS; k++) {
    const share = 0.3 + (0.7 * k) / (TRUST_STEPS - 1);
    const mixed = hue.map((value, c) => Math.round(share * value + (1 - share) * behind[c]));
    palette.steps.push(`rgb(${mixed.join(",")})`);
  }
}

// A scheme groups the points: each group has a name, a colour and a shape.
function scheme() {
  const look = (k) => ({ colour: palette.hues[k % HUES], shape: Math.floor(k / HUES) % SHAPES });
  if (colouring.startsWith("trust")) {
    const map = maps[Number(colouring.slice(5))];
    const groups = palette.steps.map((colour, k) => (
      { name: `${20 * k} to ${20 * (k + 1)} % of neighbours kept`, colour, shape: 0 }));
    return { groups, of: (i) => Math.min(TRUST_STEPS - 1, Math.floor(map.trust[i] / 20)) };
  }
  if (colouring === "split") {
    const groups = data.splits.names.map((name, k) => ({ name, ...look(k), shape: k % SHAPES }));
    groups.push({ name: "in no split", colour: palette.soft, shape: 0 });
    return { groups, of: (i) => (splits[i] < 0 ? data.splits.names.length : splits[i]) };
  }
  if (colouring === "wrong") {
    const groups = [
      { name: "answered rightly", ...look(0) }, { name: "answered wrongly", ...look(1), shape: 1 },
      { name: "not tested", colour: palette.soft, shape: 2 }];
    return { groups, of: (i) => (answers[i] < 0 || labels[i] < 0 ? 2 : wrong(i) ? 1 : 0) };
  }
  if (colouring === "certain") {
    const groups = palette.steps.map((colour, k) => (
      { name: `answer ${20 * k} to ${20 * (k + 1)} %`, colour, shape: 0 }));
    return { groups, of: (i) => Math.min(CERTAIN_STEPS - 1, Math.floor(percent[i] / 20)) };
  }
  const groups = data.classes.map((name, k) => ({ name, ...look(k) }));
  groups.push({ name: "no class", colour: palette.soft, shape: 0 });
  return { groups, of: (i) => (labels[i] < 0 ? data.classes.length : labels[i]) };
}

let grouped = []; // the points of each group, once for all maps
let groupLooks = [];

function regroup() {
  const now = scheme();
  groupLooks = now.groups;
  const counts = new Uint32Array(groupLooks.length);
  const of = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    of[i] = now.of(i);
    counts[of[i]]++;
  }
  grouped = Array.from(counts, (count) => new Uint32Array(count));
  counts.fill(0);
  for (let i = 0; i < n; i++) grouped[of[i]][counts[of[i]]++] = i;
  showLegend();
  drawAll();
}

const matches = (i) => (!wanted || data.names[i].toLowerCase().includes(wanted))
  && (highlighted < 0 || labels[i] === highlighted);
const highlighting = () => wanted !== "" || highlighted >= 0;
let lit = null; // which points are highlighted, where some are

function relight() {
  lit = null;
  let count = n;
  if (highlighting()) {
    lit = new Uint8Array(n);
    count = 0;
    for (let i = 0; i < n; i++) {
      if (matches(i)) {
        lit[i] = 1;
        count++;
      }
    }
  }
  tell(lit ? `${count} of ${n} images are highlighted.` : "");
  drawAll();
}

function tell(text) {
  byId("told").textContent = text;
}

// ---- The maps.

const STEPS = 65535;
const views = [];
let queued = false;

function drawAll() {
  for (const view of views) view.stale = true;
  queue();
}

function queue() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    for (const view of views) {
      if (view.stale) draw(view);
    }
  });
}

// Points are stamped into the pixels of a map: a canvas is asked for each shape once, not for each
// of tens of thousands of points in every frame.
const stamps = new Map();

function shapePath(context, shape, r) {
  context.beginPath();
  if (shape === 0) context.arc(0, 0, r, 0, 6.2832);
  else if (shape === 1) {
    context.moveTo(0, -1.25 * r);
    context.lineTo(1.15 * r, 0.8 * r);
    context.lineTo(-1.15 * r, 0.8 * r);
  } else if (shape === 2) context.rect(-0.9 * r, -0.9 * r, 1.8 * r, 1.8 * r);
  else {
    context.moveTo(0, -1.3 * r);
    context.lineTo(1.3 * r, 0);
    context.lineTo(0, 1.3 * r);
    context.lineTo(-1.3 * r, 0);
  }
  context.fill();
}

// The pixels of a shape: whole ones to be set, and those of its edge to be mixed.
function stamp(colour, shape, r, width) {
  const key = `${colour} ${shape} ${r} ${width}`;
  let made = stamps.get(key);
  if (made) return made;
  const reach = Math.ceil(1.4 * r) + 1;
  const side = 2 * reach + 1;
  const canvas = element("canvas", { width: side, height: side });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.translate(reach + 0.5, reach + 0.5);
  context.fillStyle = colour;
  shapePath(context, shape, r);
  const drawn = context.getImageData(0, 0, side, side).data;
  made = { reach, whole: [], word: 0, edge: [] };
  for (let at = 0; at < side * side; at++) {
    const [red, green, blue, alpha] = drawn.subarray(4 * at, 4 * at + 4);
    const offset = (Math.floor(at / side) - reach) * width + (at % side) - reach;
    if (alpha > 250) {
      made.whole.push(offset);
      made.word = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    } else if (alpha > 8) made.edge.push(offset, red, green, blue, alpha / 255);
  }
  stamps.set(key, made);
  return made;
}

function points(view, r, dimmed) {
  const { map, words, bytes, canvas } = view;
  const width = canvas.width;
  const ratio = width / view.width;
  const scale = (view.scale / STEPS) * ratio;
  const ox = view.ox * ratio;
  const oy = view.oy * ratio;
  const radius = Math.max(0.5, Math.round(2 * r * ratio) / 2);
  for (let g = 0; g < grouped.length; g++) {
    const members = grouped[g];
    if (!members.length) continue;
    const look = groupLooks[g];
    const { reach, whole, word, edge } = stamp(
      dimmed ? palette.rule : look.colour, look.shape, radius, width);
    const most = width - reach - 1;
    const wholes = whole.length;
    // The edges of many points are a haze, and cost more than the points.
    const edges = n > 12000 && wholes ? 0 : edge.length;
    for (let m = 0; m < members.length; m++) {
      const i = members[m];
      if (lit && (lit[i] === 1) === dimmed) continue;
      const x = Math.round(ox + map.xy[2 * i] * scale);
      const y = Math.round(oy + map.xy[2 * i + 1] * scale);
      if (x < reach || y < reach || x > most || y > most) continue;
      const at = y * width + x;
      for (let k = 0; k < wholes; k++) words[at + whole[k]] = word;
      for (let k = 0; k < edges; k += 5) {
        const first = 4 * (at + edge[k]);
        const share = edge[k + 4];
        bytes[first] += share * (edge[k + 1] - bytes[first]);
        bytes[first + 1] += share * (edge[k + 2] - bytes[first + 1]);
        bytes[first + 2] += share * (edge[k + 3] - bytes[first + 2]);
      }
    }
  }
}

function ring(view, i, r, colour, line) {
  const { context, map } = view;
  const scale = view.scale / STEPS;
  context.beginPath();
  context.arc(view.ox + map.xy[2 * i] * scale, view.oy + map.xy[2 * i + 1] * scale, r, 0, 6.2832);
  context.strokeStyle = colour;
  context.lineWidth = line;
  context.stroke();
}

function draw(view) {
  view.stale = false;
  const { context, canvas } = view;
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (!width) return;
  const pixels = Math.round(width * ratio);
  if (canvas.width !== pixels) {
    const factor = view.width ? width / view.width : 1;
    view.scale *= factor;
    view.ox *= factor;
    view.oy *= factor;
    canvas.width = pixels;
    canvas.height = pixels;
    view.width = width;
    if (view.scale === 0) whole(view);
    view.pixels = context.createImageData(pixels, pixels);
    view.bytes = view.pixels.data;
    view.words = new Uint32Array(view.pixels.data.buffer);
  }
  const zoom = view.scale / width;
  const r = Math.min(7, Math.max(n > 12000 ? 0.8 : 2, (n > 2000 ? 2.2 : 3.2) * Math.sqrt(zoom)));
  view.words.fill(palette.paper);
  if (lit) points(view, r, true);
  points(view, r, false);
  context.putImageData(view.pixels, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  pictures(view);
  for (let i = 0; i < n; i++) if (chosen[i]) ring(view, i, r + 2, palette.ink, 1.5);
  if (opened >= 0) {
    for (let j = 0; j < view.map.k; j++) {
      const near = view.map.nearest[opened * view.map.k + j];
      if (near < n) ring(view, near, r + 3, palette.soft, 1.5);
    }
    ring(view, opened, r + 5, palette.ink, 3);
  }
  if (current >= 0) ring(view, current, r + 4, palette.ink, 2);
  if (view.outline.length > 1) {
    context.beginPath();
    view.outline.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.setLineDash([5, 4]);
    context.strokeStyle = palette.ink;
    context.lineWidth = 1.5;
    context.stroke();
    context.setLineDash([]);
  }
  view.drawn++;
}

// Where few points are in sight, their thumbnails are drawn in their places.
const MOST_PICTURES = 60;
function pictures(view) {
  if (!data.sheets.uris.length || view.scale < 3 * view.width) return;
  const inSight = [];
  const scale = view.scale / STEPS;
  for (let i = 0; i < n && inSight.length <= MOST_PICTURES; i++) {
    const x = view.ox + view.map.xy[2 * i] * scale;
    const y = view.oy + view.map.xy[2 * i + 1] * scale;
    if (x > 0 && y > 0 && x < view.width && y < view.width && square[i] >= 0) inSight.push([i, x, y]);
  }
  if (inSight.length > MOST_PICTURES) return;
  for (const [i, x, y] of inSight) {
    const sheet = sheetOf(i);
    if (sheet.ready) drawPicture(view.context, i, x + 6, y - 18, 36);
    else if (!sheet.asked) {
      sheet.asked = true;
      sheet.waiting.push(drawAll);
    }
  }
}

function whole(view) {
  const margin = 0.05 * view.width;
  view.scale = view.width - 2 * margin;
  let greatest = [0, 0];
  for (let i = 0; i < n; i++) {
    greatest = [Math.max(greatest[0], view.map.xy[2 * i]), Math.max(greatest[1], view.map.xy[2 * i + 1])];
  }
  view.ox = (view.width - (greatest[0] / STEPS) * view.scale) / 2;
  view.oy = (view.width - (greatest[1] / STEPS) * view.scale) / 2;
}

function zoom(view, factor, x = view.width / 2, y = view.width / 2) {
  const limited = Math.min(Math.max(view.scale * factor, 0.5 * view.width), 400 * view.width);
  const by = limited / view.scale;
  view.ox = x - (x - view.ox) * by;
  view.oy = y - (y - view.oy) * by;
  view.scale = limited;
  view.stale = true;
  queue();
}

function nearestTo(view, x, y, within) {
  const scale = view.scale / STEPS;
  let best = -1;
  let least = within * within;
  for (let i = 0; i < n; i++) {
    if (lit && !lit[i]) continue;
    const dx = view.ox + view.map.xy[2 * i] * scale - x;
    const dy = view.oy + view.map.xy[2 * i + 1] * scale - y;
    const far = dx * dx + dy * dy;
    if (far < least) {
      least = far;
      best = i;
    }
  }
  return best;
}

function hover(i) {
  if (i === current) return;
  current = i;
  if (i >= 0) tell(described(i));
  drawAll();
}

function inside(outline, x, y) {
  let within = false;
  for (let a = 0, b = outline.length - 1; a < outline.length; b = a++) {
    const [xa, ya] = outline[a];
    const [xb, yb] = outline[b];
    if (ya > y !== yb > y && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) within = !within;
  }
  return within;
}

function chooseInside(view, outline, add) {
  const scale = view.scale / STEPS;
  if (!add) chosen.fill(0);
  for (let i = 0; i < n; i++) {
    if (lit && !lit[i]) continue;
    const x = view.ox + view.map.xy[2 * i] * scale;
    const y = view.oy + view.map.xy[2 * i + 1] * scale;
    if (inside(outline, x, y)) chosen[i] = 1;
  }
  showChosen();
}

const mode = () => document.querySelector("input[name=mode]:checked").value;

document.querySelectorAll(".map canvas").forEach((canvas, number) => {
  const view = {
    canvas, map: maps[number], context: canvas.getContext("2d"), number,
    scale: 0, ox: 0, oy: 0, width: 0, stale: true, outline: [], drawn: 0,
    pixels: null, bytes: null, words: null,
  };
  views.push(view);
  let from = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const [x, y] = place(event);
    from = { x, y, lastX: x, lastY: y, moved: false, mode: mode() };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (!from) {
      hover(nearestTo(view, x, y, 12));
      return;
    }
    if (Math.hypot(x - from.x, y - from.y) > 4) from.moved = true;
    if (!from.moved) return;
    if (from.mode === "move") {
      view.ox += x - from.lastX;
      view.oy += y - from.lastY;
    } else if (from.mode === "box") {
      view.outline = [[from.x, from.y], [x, from.y], [x, y], [from.x, y]];
    } else {
      if (!view.outline.length) view.outline.push([from.x, from.y]);
      view.outline.push([x, y]);
    }
    from.lastX = x;
    from.lastY = y;
    view.stale = true;
    queue();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    const [x, y] = place(event);
    if (!from.moved) {
      const i = nearestTo(view, x, y, event.pointerType === "touch" ? 24 : 12);
      if (i >= 0) open(i, false);
    } else if (view.outline.length > 2) chooseInside(view, view.outline, event.shiftKey);
    from = null;
    view.outline = [];
    view.stale = true;
    queue();
  });
  canvas.addEventListener("pointercancel", () => {
    from = null;
    view.outline = [];
  });
  canvas.addEventListener("pointerleave", () => {
    if (!from) hover(-1);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const [x, y] = place(event);
    zoom(view, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), x, y);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => keyed(view, event));
  const frame = canvas.parentElement;
  frame.querySelector("[data-zoom=in]").addEventListener("click", () => zoom(view, 1.5));
  frame.querySelector("[data-zoom=out]").addEventListener("click", () => zoom(view, 1 / 1.5));
});

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function keyed(view, event) {
  if (event.key in ARROWS) hover(next(view, ARROWS[event.key]));
  else if (event.key === "Enter" && current >= 0) open(current, true);
  else if (event.key === " " && current >= 0) {
    chosen[current] = chosen[current] ? 0 : 1;
    tell(described(current));
    showChosen();
  } else if (event.key === "+" || event.key === "=") zoom(view, 1.5);
  else if (event.key === "-") zoom(view, 1 / 1.5);
  else if (event.key === "0" || event.key === "Home") {
    whole(view);
    drawAll();
  } else if (event.key === "Escape") hover(-1);
  else return;
  event.preventDefault();
}

// The nearest image in a direction: what lies aside counts three times.
function next(view, [dx, dy]) {
  const { xy } = view.map;
  if (current < 0) return nearestTo(view, view.width / 2, view.width / 2, Infinity);
  let best = current;
  let least = Infinity;
  for (let i = 0; i < n; i++) {
    if (i === current || (lit && !lit[i])) continue;
    const x = xy[2 * i] - xy[2 * current];
    const y = xy[2 * i + 1] - xy[2 * current + 1];
    const ahead = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    const cost = ahead + 3 * aside;
    if (ahead > 0 && cost < least) {
      least = cost;
      best = i;
    }
  }
  const scale = view.scale / STEPS;
  const x = view.ox + xy[2 * best] * scale;
  const y = view.oy + xy[2 * best + 1] * scale;
  if (x < 0 || y < 0 || x > view.width || y > view.width) {
    view.ox += view.width / 2 - x;
    view.oy += view.width / 2 - y;
  }
  return best;
}

// ---- One image, with its neighbours in each layer.

function open(i, goThere) {
  opened = i;
  const [top, place] = [byId("opened"), byId("open")];
  for (const each of [top, place]) {
    each.hidden = false;
    each.textContent = "";
  }
  const answer = answerName(i);
  const seen = head && head.heldOut ? "by a head that had not seen it" : "by the head";
  const said = answer ? `; answered ${answer}, ${percent[i]} %, ${seen}` : "";
  top.append(card(i, ""), element("div", {},
    element("h3", { tabindex: "-1" }, data.names[i]),
    element("p", { class: "caption" }, `${className(i)}${said}; neighbours below`)));
  for (const map of maps) {
    const strip = element("div", { class: "strip" });
    for (let j = 0; j < map.k; j++) {
      const near = map.nearest[i * map.k + j];
      if (near < n) strip.append(card(near, (map.cosines[i * map.k + j] / 1000).toFixed(2)));
    }
    const kept = map.trust[i] <= 100 ? `${map.trust[i]} % kept` : "";
    place.append(element("div", { class: "near" },
      element("div", {}, element("strong", {}, map.layer), element("div", { class: "caption" }, kept)),
      strip));
  }
  place.append(element("button", {
    type: "button",
    onclick: () => {
      chosen[i] = 1;
      for (let j = 0; j < maps[maps.length - 1].k; j++) {
        const near = maps[maps.length - 1].nearest[i * maps[maps.length - 1].k + j];
        if (near < n) chosen[near] = 1;
      }
      showChosen();
    },
  }, `Choose it and its neighbours in ${maps[maps.length - 1].layer}`));
  if (goThere) {
    top.querySelector("h3").focus({ preventScroll: true });
    place.scrollIntoView({ block: "nearest" });
  }
  drawAll();
}

// ---- Chosen images.

function showChosen() {
  const list = [];
  for (let i = 0; i < n; i++) if (chosen[i]) list.push(i);
  byId("chosen-count").textContent = list.length
    ? `${list.length} of ${n} images are chosen.`
    : "None. Choose by rectangle or lasso on a map, by a class or a name that is highlighted, or with the space bar.";
  byId("save").disabled = !list.length;
  byId("clear").disabled = !list.length;
  gallery(byId("chosen-list"), list, (i) => card(i, className(i)));
  if (!list.length) byId("chosen-list").textContent = "";
  tell(list.length ? `${list.length} images are chosen.` : "No image is chosen.");
  drawAll();
}

// What a spreadsheet would take for a formula gets an apostrophe before it, as in decaf's own CSV.
function cell(text) {
  const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function csv() {
  const lines = ["path,class" + (head ? ",answer,percent" : "")];
  for (let i = 0; i < n; i++) {
    if (!chosen[i]) continue;
    const cells = [cell(data.names[i]), labels[i] < 0 ? "" : cell(data.classes[labels[i]])];
    if (head) cells.push(cell(answerName(i)), answers[i] < 0 ? "" : String(percent[i]));
    lines.push(cells.join(","));
  }
  return lines.join("\n") + "\n";
}

byId("save").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  const link = element("a", { href: address, download: "chosen.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
});
byId("clear").addEventListener("click", () => {
  chosen.fill(0);
  showChosen();
});
byId("choose-shown").addEventListener("click", () => {
  if (!lit) {
    tell("Nothing is highlighted: press a class, or type a part of a name.");
    return;
  }
  for (let i = 0; i < n; i++) if (lit[i]) chosen[i] = 1;
  showChosen();
});

// ---- Tools.

function showLegend() {
  const legend = byId("legend");
  legend.textContent = "";
  groupLooks.forEach((look, k) => {
    if (!grouped[k].length) return;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "-8 -8 16 16");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", [
      "M6 0A6 6 0 1 1-6 0A6 6 0 1 1 6 0Z", "M0-7L6.5 4.5H-6.5Z", "M-5.5-5.5H5.5V5.5H-5.5Z", "M0-7.5L7.5 0L0 7.5L-7.5 0Z",
    ][look.shape]);
    path.setAttribute("fill", look.colour);
    svg.append(path);
    const name = element("span", {}, `${look.name} (${grouped[k].length})`);
    if (colouring === "class" && k < data.classes.length) {
      legend.append(element("button", {
        type: "button", "aria-pressed": String(highlighted === k), title: look.name,
        onclick: () => {
          highlighted = highlighted === k ? -1 : k;
          for (const [at, each] of [...legend.children].entries()) {
            each.setAttribute("aria-pressed", String(legend.children[at].dataset.k === String(highlighted)));
          }
          relight();
        },
        "data-k": String(k),
      }, svg, name));
    } else legend.append(element("span", { class: "item" }, svg, name));
  });
}

const options = [["class", "class"]];
maps.forEach((map, k) => options.push([`trust${k}`, `trust of the map of ${map.layer}`]));
if (splits) options.push(["split", "split"]);
if (head) {
  if (head.heldOut) options.push(["wrong", "right or wrong"]);
  options.push(["certain", "certainty of the answer"]);
}
for (const [value, text] of options) byId("colour").append(element("option", { value }, text));
byId("colour").addEventListener("change", (event) => {
  colouring = event.target.value;
  if (colouring !== "class") highlighted = -1;
  regroup();
  relight();
});
byId("find").addEventListener("input", (event) => {
  wanted = event.target.value.toLowerCase();
  relight();
});
byId("find").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !lit) return;
  const first = lit.indexOf(1);
  if (first >= 0) open(first, true);
});
byId("reset").addEventListener("click", () => {
  views.forEach(whole);
  drawAll();
});
for (const each of document.querySelectorAll("input[name=mode]")) {
  each.addEventListener("change", () => byId("maps").classList.toggle("choosing", mode() !== "move"));
}

// ---- Lists.

const percentOf = (i) => `${percent[i]}\u00a0%`;
const lists = {
  copies: [data.copies, ([a, b, cosine, kind]) => {
    const same = `${kind}, cosine ${cosine.toFixed(3)}`;
    const apart = labels[a] !== labels[b] ? `; ${className(a)} and ${className(b)}` : "";
    return element("div", { class: "pair twins" }, card(a, ""), card(b, ""),
      element("p", { class: "caption" }, same + apart));
  }],
  outliers: [data.outliers, ([i, reason]) => card(i, reason)],
};
if (head) {
  lists.mistakes = [head.mistakes, (i) => card(i, `${className(i)}, taken for ${answerName(i)} ${percentOf(i)}`)];
  lists.errors = [head.errors, ([i, code]) => card(i, `${className(i)}; rather ${head.classes[code]}?`)];
  const answered = (i) => card(i, `${answerName(i)} ${percentOf(i)}${wrong(i) ? `, is ${className(i)}` : ""}`);
  lists.unsure = [head.unsure, answered];
  lists.sure = [head.sure, answered];
}
for (const place of document.querySelectorAll("[data-list]")) {
  const [items, make] = lists[place.dataset.list];
  gallery(place, items, make, place.dataset.list === "copies" ? 12 : 24);
}

// ---- Units that tell two classes apart.

function showContrast() {
  const a = Number(byId("class-a").value);
  const b = Number(byId("class-b").value);
  const place = byId("contrast");
  place.textContent = "";
  const pair = head.pairs.find(([x, y]) => (x === a && y === b) || (x === b && y === a));
  if (!pair) {
    place.append(element("p", { class: "caption" }, a === b
      ? "Choose two different classes."
      : "Of so many classes the pairs that the head can hardly tell apart are listed; this one it tells apart easily."));
    return;
  }
  const [first, , margin, units, contributions, activeA, activeB] = pair;
  const swapped = first !== a;
  place.append(element("p", { class: "caption" },
    `The head prefers ${head.headClasses[a]} by ${margin.toPrecision(3)} more for its mean image than for that of ${head.headClasses[b]}; these units make the most of it.`));
  units.forEach((unit, k) => {
    const of = swapped ? [activeB[k], activeA[k]] : [activeA[k], activeB[k]];
    const forA = of[0] >= of[1];
    const strip = element("div", { class: "strip" });
    const patches = head.patches[unit] || [];
    (head.examples[unit] || []).forEach((i, at) => {
      if (i >= 0) strip.append(card(i, "", patches[at]));
    });
    const fill = element("span", { class: forA ? "fill" : "fill b" });
    fill.style.width = `${Math.max(1, (100 * contributions[k]) / Math.max(contributions[0], 1e-12))}%`;
    place.append(element("div", { class: "unit" },
      element("div", {},
        element("strong", {}, `unit ${unit}`),
        element("div", { class: "track" }, fill),
        element("div", { class: "caption" },
          `${((100 * contributions[k]) / margin).toFixed(1)} % of the difference; active ${of[0].toPrecision(3)} in ${head.headClasses[a]}, ${of[1].toPrecision(3)} in ${head.headClasses[b]}`)),
      strip));
  });
}

if (head) {
  for (const id of ["class-a", "class-b"]) {
    head.headClasses.forEach((name, k) => byId(id).append(element("option", { value: String(k) }, name)));
    byId(id).addEventListener("change", showContrast);
  }
  if (head.pairs.length) {
    byId("class-a").value = String(head.pairs[0][0]);
    byId("class-b").value = String(head.pairs[0][1]);
  }
  showContrast();
}

// ---- Begin.

readPalette();
dark.addEventListener("change", () => {
  readPalette();
  regroup();
});
regroup();
if ("ResizeObserver" in window) {
  const sized = new ResizeObserver(drawAll);
  for (const view of views) sized.observe(view.canvas);
} else window.addEventListener("resize", drawAll);
// For whoever tests the page: what it holds, and how often each map was drawn.
window.decafPage = { data, views, chosen, csv, open, draw, drawAll };
})();
