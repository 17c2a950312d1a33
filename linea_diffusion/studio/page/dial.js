const one = (selector) => element.querySelector(selector);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
const near = (a, b) => Math.abs(a - b) < 1e-6;
const LEAST = -0.5, MOST = 1.25, STEP = 0.05;

/* A range is filled from where nothing happens to where it stands. */
function fill(range, origin) {
  const share = (at) => 100 * (at - range.min) / (range.max - range.min), ends = [share(origin), share(+range.value)];
  range.style.setProperty("--start", `${Math.max(0, Math.min(...ends))}%`);
  range.style.setProperty("--end", `${Math.min(100, Math.max(...ends))}%`);
}

let dials = new Map();   // style -> {value, on}
let turning = "";
let timer = 0, asked = 0, flying = 0, sent = 0, again = null;

let shown = {};          // what the server said last
const value = () => shown;
const strengths = () => Object.fromEntries([...dials].map(([name, dial]) => [name, dial.on ? dial.value : 0]));
const same = (a, b, except) => Object.keys({ ...a, ...b }).every((name) => name === except || near(a[name] || 0, b[name] || 0));

/* What is shown: the picture of just these strengths, or while a dial is turned the nearest of its row. */
function paint() {
  const now = strengths(), seen = value();
  if (!seen.now) return;
  let picture = same(now, seen.now.strengths) && seen.now, exact = Boolean(picture);
  const row = seen.row || [], along = seen.row_of, fits = row.length > 0 && same(now, seen.row_at, along);
  if (!picture && fits) {
    const at = now[along] || 0;
    picture = row.reduce((best, next) => (Math.abs(next.at - at) < Math.abs(best.at - at) ? next : best));
    exact = near(picture.at, at);
  }
  picture = picture || seen.now;
  for (const [image, source] of [[one(".now"), picture.src], [one(".plain"), seen.plain]])
    if (image.getAttribute("src") !== source) image.src = source;
  const said = Object.entries(now).filter(([, s]) => s).map(([name, s]) => `${name} ${+s.toFixed(3)}`).join(", ") || "unsteered";
  one(".now").alt = `${seen.prompt}: ${said}`;
  one(".plain").alt = `${seen.prompt}: unsteered`;
  one(".tag.right").textContent = said;
  element.querySelectorAll(".frame img").forEach((image) => image.classList.toggle("small", Boolean(seen.small)));
  one(".frame").classList.toggle("waiting", !exact && flying > 0);
  one(".frame").style.aspectRatio = seen.ratio || "1";
  one(".strip").classList.toggle("stale", !fits);
  strip(row, fits ? now[along] || 0 : NaN, along);
}

function strip(row, at, name) {
  const place = one(".strip"), key = row.map((each) => each.src.length + each.src.slice(-40)).join() + name;
  if (place.dataset.key !== key) {
    place.dataset.key = key;
    place.replaceChildren(...row.map((each) => {
      const button = make("button", { type: "button" }, make("img", { src: each.src, alt: "" }), make("span", { textContent: each.at }));
      button.setAttribute("aria-label", `${name} ${each.at}`);
      button.addEventListener("click", () => { turn(name, each.at); later(0); });
      return button;
    }));
  }
  [...place.children].forEach((button, i) => button.setAttribute("aria-pressed", String(near(row[i].at, at) && dials.get(name)?.on !== false)));
}

/* One style: on or off, a dial, a number for what lies between or beyond. */
function drawDials() {
  one(".empty").hidden = dials.size > 0;
  one(".dials").replaceChildren(...[...dials].map(([name, dial]) => {
    const on = make("input", { type: "checkbox", checked: dial.on });
    on.setAttribute("aria-label", `${name} on`);
    const range = make("input", { type: "range", className: "along", min: LEAST, max: MOST, step: STEP, value: dial.value });
    range.setAttribute("aria-label", `${name} strength`);
    const number = make("input", { type: "number", step: "any", min: -10, max: 10, value: +dial.value.toFixed(4) });
    number.setAttribute("aria-label", `${name} strength as a number`);
    const title = make("label", { className: "name" }, on, make("span", { textContent: name }));
    if (dial.calibrated) title.append(make("small", { textContent: "even", title: "calibrated: equal steps look equal" }));
    const zero = make("span", { className: "marks" });
    zero.setAttribute("aria-hidden", "true");
    zero.append(...[0, 1].map((mark) => {
      const tick = make("i", { textContent: mark });
      tick.style.left = `calc(.575rem + ${(mark - LEAST) / (MOST - LEAST)} * (100% - 1.15rem))`;
      return tick;
    }));
    const box = make("div", { className: "one" }, title, number, make("div", { className: "track" }, range, zero));
    box.dataset.style = name;
    fill(range, 0);
    box.classList.toggle("off", !dial.on);
    on.addEventListener("change", () => { dial.on = on.checked; box.classList.toggle("off", !dial.on); turning = name; paint(); later(0); });
    range.addEventListener("input", () => { turn(name, +range.value); later(400); });
    range.addEventListener("change", () => later(60));
    range.addEventListener("pointerdown", () => { if (value().turning !== name) { turning = name; later(0); } });
    number.addEventListener("change", () => { const typed = parseFloat(number.value); if (Number.isFinite(typed)) { turn(name, typed); later(0); } });
    return box;
  }));
}

function turn(name, to) {
  const dial = dials.get(name), box = [...element.querySelectorAll(".one")].find((each) => each.dataset.style === name);
  if (!dial) return;
  dial.value = to;
  if (!dial.on) { dial.on = true; box.querySelector("[type=checkbox]").checked = true; box.classList.remove("off"); }
  turning = name;
  const range = box.querySelector(".along"), number = box.querySelector("[type=number]");
  if (+range.value !== to) range.value = to;
  fill(range, 0);
  if (parseFloat(number.value) !== to) number.value = +to.toFixed(4);
  paint();
}

function later(wait) {
  clearTimeout(timer);
  one(".frame").setAttribute("aria-busy", "true");
  timer = setTimeout(() => ask("turn"), wait);
}

/* One question at a time; what is turned meanwhile is asked when the answer is there. */
function ask(event, more) {
  clearTimeout(timer);
  one(".frame").setAttribute("aria-busy", "true");
  if (flying && Date.now() - sent < 60000) {
    if (!again || again[0] === "turn") again = [event, more];
    return paint();
  }
  [flying, sent] = [++asked, Date.now()];
  trigger(event, {
    values: Object.fromEntries([...dials].map(([name, dial]) => [name, dial.value])),
    off: [...dials].filter(([, dial]) => !dial.on).map(([name]) => name),
    turning, window: [one(".from").value / 100, one(".to").value / 100], mask: mask(),
    scores: one("details.scores").open, number: flying, ...more,
  });
  paint();
}

/* The mask: an area, or what a brush has drawn, white where steering acts. */
const brush = one(".brush"), area = one(".mask select"), ink = brush.getContext("2d");
let strokes = false;
const AREAS = { left: [0, 0, .5, 1], right: [.5, 0, .5, 1], top: [0, 0, 1, .5], bottom: [0, .5, 1, .5], middle: [.25, .25, .5, .5] };
function wipeMask() { ink.clearRect(0, 0, brush.width, brush.height); strokes = false; }
function prepareMask() {
  const [wide, high] = (value().size || [1, 1]), scale = 512 / Math.max(wide, high);
  brush.width = Math.round(wide * scale); brush.height = Math.round(high * scale);
  wipeMask();
  brush.hidden = !area.value;
  brush.classList.toggle("drawing", area.value === "brush");
  const box = AREAS[area.value];
  if (box) {
    ink.fillStyle = "#fff"; ink.fillRect(box[0] * brush.width, box[1] * brush.height, box[2] * brush.width, box[3] * brush.height);
    strokes = true;
  }
}
function mask() {
  if (!area.value || !strokes) return null;
  const flat = make("canvas", { width: brush.width, height: brush.height }), pen = flat.getContext("2d");
  pen.fillRect(0, 0, flat.width, flat.height);
  pen.drawImage(brush, 0, 0);
  return flat.toDataURL("image/png");
}
area.addEventListener("change", () => { prepareMask(); later(0); });
one(".mask .clear").addEventListener("click", () => { area.value = ""; prepareMask(); later(0); });
one(".mask .keep").addEventListener("click", () => { if (mask()) make("a", { href: mask(), download: "mask.png" }).click(); });
let last = null;
const spot = (event) => {
  const box = brush.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * brush.width, (event.clientY - box.top) / box.height * brush.height];
};
brush.addEventListener("pointerdown", (event) => { if (area.value === "brush") { brush.setPointerCapture(event.pointerId); last = spot(event); brush.classList.add("inking"); stroke(event); } });
brush.addEventListener("pointermove", (event) => { if (last) stroke(event); });
brush.addEventListener("pointerup", () => { if (last) { last = null; brush.classList.remove("inking"); later(0); } });
function stroke(event) {
  const to = spot(event);
  Object.assign(ink, { strokeStyle: "#fff", lineCap: "round", lineWidth: brush.width * one(".width").value / 100 });
  ink.beginPath(); ink.moveTo(...last); ink.lineTo(...to); ink.stroke();
  last = to; strokes = true;
}

const wipe = one(".wipe input");
wipe.addEventListener("input", () => {
  fill(wipe, 0);
  one(".frame").style.setProperty("--wipe", `${wipe.value}%`);
  one(".frame").classList.toggle("wiped", wipe.value > 0);
});
const width = one(".width");
width.addEventListener("input", () => fill(width, width.min));
fill(width, width.min);
const ends = [...element.querySelectorAll(".part input")];
const showEnds = () => ends.forEach((end, i) => { end.nextElementSibling.textContent = `${end.value} %`; fill(end, i ? 100 : 0); });
for (const end of ends) {
  end.addEventListener("input", showEnds);
  end.addEventListener("change", () => {
    const [from, to] = [one(".from"), one(".to")];
    if (+from.value >= +to.value) {
      if (end === from) to.value = +from.value + 5; else from.value = +to.value - 5;
      showEnds();
    }
    later(60);
  });
}
one(".save").addEventListener("click", () => ask("keep"));
one(".fill").addEventListener("click", () => ask("turn", { fill: true }));
one(".stop").addEventListener("click", () => trigger("halt", {}));
one("details.scores").addEventListener("toggle", (event) => { if (event.target.open) ask("turn"); });
for (const button of element.querySelectorAll(".copy"))
  button.addEventListener("click", async () => {
    const text = one(`code.${button.dataset.of}`).textContent;
    try { await navigator.clipboard.writeText(text); } catch { return; }
    one(".status").textContent = `copied the ${button.dataset.of === "python" ? "lines of Python" : "command"}`;
  });

watch("value", () => {
  const { scores, scores_of, ...kept } = shown;
  for (const once of ["begin", "busy", "error", "status", "download", "number"]) delete kept[once];
  const seen = shown = { ...kept, ...(props.value || {}) };
  if (!seen.busy && (seen.number === undefined || seen.number === flying)) flying = 0;
  const names = (seen.styles || []).map((style) => style.name);
  if (seen.begin || names.join("\n") !== [...dials.keys()].join("\n")) {
    dials = new Map((seen.styles || []).map((style) => [style.name, { ...style }]));
    turning = seen.turning;
    drawDials();
  }
  const status = one(".status");
  status.textContent = seen.error || seen.status || "";
  status.classList.toggle("wrong", Boolean(seen.error));
  one(".stop").hidden = !seen.busy;
  one(".fill").hidden = Boolean(seen.busy || seen.quick || !dials.size || (props.value || {}).row);
  one(".frame").setAttribute("aria-busy", String(Boolean(seen.busy || flying)));
  one(".python").textContent = seen.python || "";
  one(".command").textContent = seen.command || "";
  one(".shell").hidden = !seen.command;
  const rows = (seen.scores || []).map((figure) => {
    const head = make("th", { scope: "row", title: figure.meaning }, figure.label, make("small", { textContent: figure.convention }));
    return make("tr", {}, head, make("td", { textContent: figure.value.toFixed(3) }));
  });
  if (seen.scores) one(".scores tbody").replaceChildren(...rows);
  one(".scores .hint").textContent = seen.scores_of || "";
  if (seen.download) {
    make("a", { href: seen.download.src, download: seen.download.name }).click();
  }
  paint();
  if (flying || seen.busy) return;
  if (again) {
    const [event, more] = again;
    again = null;
    ask(event, more);
  } else if (one("details.scores").open && !seen.scores && !seen.error && seen.now) ask("turn");
});
