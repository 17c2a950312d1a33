"use strict";
// Pictures are in the page once, in the table; the dials borrow their sources from there.
document.documentElement.classList.add("scripted");
const strips = [...document.querySelectorAll(".strip")].map((row) => [...row.querySelectorAll("img")]);

function say(range, text) {
  range.setAttribute("aria-valuetext", text);
  range.parentElement.querySelector("output").textContent = text;
}

function setUp(article) {
  const rows = article.dataset.strips.split(" ").map((number) => strips[number]);
  const view = article.querySelector(".view"), scores = article.querySelector(".scores");
  const along = article.querySelector(".along"), across = article.querySelector(".across");
  along.max = rows[0].length - 1;
  along.value = along.max;
  if (across) across.value = across.max;
  function show() {
    const shown = rows[across ? across.value : 0][along.value];
    view.src = shown.src;
    view.alt = shown.alt;
    view.width = shown.getAttribute("width");
    view.height = shown.getAttribute("height");
    say(along, shown.dataset.label);
    if (across) say(across, shown.dataset.row);
    scores.replaceChildren(...Object.entries(JSON.parse(shown.dataset.scores)).flatMap(([name, value]) => {
      const term = document.createElement("dt"), figure = document.createElement("dd");
      term.textContent = name;
      figure.textContent = value;
      return [term, figure];
    }));
  }
  if (across) across.addEventListener("input", show);
  show();
  return { along, show, button: article.querySelector(".play"), values: rows[0].map((image) => +image.dataset.value) };
}

function playable(button, range, show) {
  let timer = null, step = -1;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.setAttribute("aria-pressed", "false");
  };
  const advance = () => {
    if (+range.value + step < 0 || +range.value + step > +range.max) step = -step;
    range.value = +range.value + step;
    show();
  };
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    button.setAttribute("aria-pressed", "true");
    timer = setInterval(advance, 450);
    advance();
  });
  range.addEventListener("input", () => { stop(); show(); });
}

const dials = [...document.querySelectorAll(".dial")].map(setUp);
dials.forEach((dial) => playable(dial.button, dial.along, dial.show));

const all = document.getElementById("all");
if (all) {
  const longest = dials.reduce((a, b) => (b.values.length > a.values.length ? b : a));
  const labels = longest.values.length === +all.max + 1 ? longest.values : null;
  const columns = [...document.querySelectorAll(".grid thead th")].map((head) => head.textContent);
  const nearest = (values, wanted) =>
    values.reduce((best, value, i) => (Math.abs(value - wanted) < Math.abs(values[best] - wanted) ? i : best), 0);
  const together = () => {
    dials.forEach((dial) => {
      dial.along.value = labels ? nearest(dial.values, labels[all.value]) : all.value;
      dial.show();
    });
    say(all, columns[all.value]);
  };
  playable(document.querySelector(".all .play"), all, together);
  say(all, columns[all.value]);
}
