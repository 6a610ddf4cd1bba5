"use strict";

const SHOWN = 300; // cells with a picture; all of them are in the CSV
const TOGETHER = 16; // images of a request
const $ = (id) => document.getElementById(id);

let about = null;
let token = decodeURIComponent(location.hash.startsWith("#token=") ? location.hash.slice(7) : "");
let rows = []; // what the CSV holds: {name, label, probabilities, spread, note, error}
let waiting = []; // files that are not sent yet
let sent = 0;
let total = 0;
let working = false;
let round = 0; // raised by "Clear": what was sent before is dropped

function headers() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

async function ask(path, options = {}) {
  for (;;) {
    const answer = await fetch(path, { ...options, headers: headers() });
    if (answer.status !== 503) return answer;
    await pause(Number(answer.headers.get("retry-after")) || 1);
  }
}

async function begin() {
  let answer;
  try {
    answer = await ask("info");
  } catch {
    $("what").textContent = "The server does not answer.";
    return;
  }
  if (answer.status === 401) {
    $("what").textContent = "";
    $("login-error").textContent = token ? "This is not the token." : "";
    $("login").hidden = false;
    $("token").focus();
    return;
  }
  about = await answer.json();
  $("login").hidden = true;
  $("work").hidden = false;
  $("synthetic").hidden = !about.synthetic;
  const runs = about.runs.map((run, i) => `${run} (${about.backbones[i]})`).join(", ");
  $("what").textContent = `${about.classes.join(" or ")}, by ${runs}`;
  const threshold = about.threshold === null ? "" : ` The mark on its bar is at ${percent(about.threshold)}.`;
  if (about.meanings) facts([["Classes", `${about.meanings}.`]]);
  facts([
    ["Label", `${capital(about.label_rule.replace(/^label: /, ""))}.${threshold}`],
    ["Probability", about.calibration],
  ]);
  const limits = about.limits;
  $("limits").textContent =
    `BMP, PNG, JPEG, TIFF or WebP of single cells, up to ${limits.image_mb} MB and ` +
    `${limits.megapixels} megapixels each`;
}

function facts(pairs) {
  for (const [name, text] of pairs) {
    $("facts").append(element("dt", name), element("dd", text));
  }
}

function element(tag, text = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
const percent = (chance) => `${(100 * chance).toFixed(1)} %`;

function add(files) {
  waiting.push(...files);
  total += files.length;
  if (!working) work();
}

function nextFiles() {
  const most = Math.min(TOGETHER, about.limits.images);
  const room = 0.9 * about.limits.request_mb * 1048576;
  const taken = [waiting.shift()];
  let bytes = taken[0].size;
  while (waiting.length && taken.length < most && bytes + waiting[0].size <= room) {
    bytes += waiting[0].size;
    taken.push(waiting.shift());
  }
  return taken;
}

async function work() {
  working = true;
  while (waiting.length) {
    const begun = round;
    const files = nextFiles();
    const found = await predict(files);
    if (begun !== round) continue;
    files.forEach((file, i) => show(file, found[i]));
    sent += files.length;
    tell();
  }
  working = false;
  tell();
}

async function predict(files) {
  const failed = (error) =>
    files.map((file) => ({ name: file.name, label: null, probabilities: null, spread: null, note: "", error }));
  const form = new FormData();
  for (const file of files) form.append("images", file, file.name);
  try {
    const answer = await ask("predict", { method: "POST", body: form });
    const told = await answer.json();
    return told.predictions || failed(String(told.detail));
  } catch {
    return failed("The server did not answer: it may have ended, or the file is too large.");
  }
}

function tell() {
  const counts = {};
  for (const row of rows) {
    const name = row.error ? "not predicted" : row.label;
    counts[name] = (counts[name] || 0) + 1;
  }
  const parts = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  const state = sent < total ? `${sent} of ${total} images` : `${total} image${total === 1 ? "" : "s"}`;
  $("progress").textContent = total ? `${state}: ${parts.join(", ")}` : "";
  $("actions").hidden = !rows.length;
  $("more").textContent = rows.length > SHOWN ? `The first ${SHOWN} are shown; the CSV holds all.` : "";
}

function show(file, row) {
  rows.push(row);
  if (rows.length > SHOWN) return;
  const cell = $("cell").content.firstElementChild.cloneNode(true);
  const part = (name) => cell.querySelector(`.${name}`);
  const image = part("image");
  image.src = URL.createObjectURL(file);
  image.alt = row.name;
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  image.addEventListener("error", () => (image.hidden = true), { once: true });
  part("name").textContent = row.name;
  part("remark").textContent = row.error || row.note;
  cell.classList.toggle("failed", Boolean(row.error));
  if (!row.error) {
    const spread = row.spread === null ? "" : ` ± ${(100 * row.spread).toFixed(1)} between runs`;
    part("label").textContent = row.label;
    for (const name of about.classes) {
      part("chances").append(chance(name, row.probabilities[name], name === row.label ? spread : ""));
    }
    part("look").hidden = !about.heat_maps;
    part("look").addEventListener("click", () => look(file, row, cell));
  }
  $("cells").append(cell);
}

function chance(name, value, spread) {
  const item = document.createElement("li");
  const track = document.createElement("span");
  track.className = "track";
  const mark = name === about.positive && about.threshold !== null ? about.threshold : null;
  track.append(bar(value, mark));
  item.append(element("span", name), element("span", `${percent(value)}${spread}`), track);
  return item;
}

function bar(value, mark) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 100 1");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const filled = document.createElementNS(space, "rect");
  filled.setAttribute("width", String(100 * value));
  filled.setAttribute("height", "1");
  svg.append(filled);
  if (mark !== null) {
    const line = document.createElementNS(space, "line");
    for (const [key, at] of [["x1", 100 * mark], ["x2", 100 * mark], ["y1", 0], ["y2", 1]]) {
      line.setAttribute(key, String(at));
    }
    svg.append(line);
  }
  return svg;
}

async function look(file, row, cell) {
  const button = cell.querySelector(".look");
  button.disabled = true;
  const form = new FormData();
  form.append("image", file, file.name);
  try {
    const answer = await ask(`explain?target=${encodeURIComponent(row.label)}`, { method: "POST", body: form });
    const told = await answer.json();
    if (!answer.ok) throw new Error(String(told.detail));
    const image = cell.querySelector(".image");
    image.src = told.image;
    image.hidden = false;
    const overlay = cell.querySelector(".overlay");
    overlay.src = told.overlay;
    overlay.alt = `Grad-CAM of ${row.name} for ${told.target}`;
    overlay.hidden = false;
    const inside = cell.querySelector(".inside");
    inside.textContent = `Grad-CAM for ${told.target} (${told.run}): ${told.share}`;
    inside.hidden = false;
    button.hidden = true;
  } catch (error) {
    cell.querySelector(".remark").textContent = error.message || "The server did not answer.";
    button.disabled = false;
  }
}

// As fastleuk/csv_files.py writes cells: a text that begins like a formula gets an apostrophe.
function quoted(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text)) text = `'${text}`;
  return /[",\r\n]|^\s/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const several = about.runs.length > 1;
  const names = ["path", "predicted", ...about.classes.map((name) => `p_${name}`)];
  const lines = [[...names, ...(several ? ["spread"] : []), "note", "error"]];
  for (const row of rows) {
    const chances = about.classes.map((name) => (row.probabilities ? row.probabilities[name] : ""));
    lines.push([row.name, row.label, ...chances, ...(several ? [row.spread] : []), row.note, row.error]);
  }
  return lines.map((line) => `${line.map(quoted).join(",")}\n`).join("");
}

$("files").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
for (const [kind, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (kind === "drop" && about) add([...event.dataTransfer.files]);
  });
}
$("csv").addEventListener("click", () => {
  const link = document.createElement("a");
  const mark = $("excel").checked ? "\ufeff" : "";
  link.href = URL.createObjectURL(new Blob([mark, csv()], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
$("clear").addEventListener("click", () => {
  round += 1;
  rows = [];
  waiting = [];
  sent = total = 0;
  $("cells").replaceChildren();
  tell();
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  begin();
});
begin();
