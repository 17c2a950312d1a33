const one = (selector) => element.querySelector(selector);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
one(".stop").addEventListener("click", () => { one(".stop").disabled = true; trigger("halt", {}); });

/* Each strength has losses of its own size: the mean over a whole turn of them says how it goes. */
function line(losses, turn) {
  const means = losses.map((_, i) => losses.slice(Math.max(0, i - turn + 1), i + 1)).map((part) => part.reduce((a, b) => a + b, 0) / part.length);
  const most = Math.max(...means), least = Math.min(...means, 0);
  const at = (x, y) => `${(300 * x / Math.max(1, means.length - 1)).toFixed(1)} ${(66 - 62 * (y - least) / (most - least || 1)).toFixed(1)}`;
  return means.map((y, x) => `${x ? "L" : "M"}${at(x, y)}`).join("");
}

watch("value", () => {
  const seen = props.value || {};
  one(".going").hidden = !seen.going && !(seen.pictures || []).length;
  one(".idle").hidden = Boolean(seen.going || (seen.pictures || []).length || seen.status || seen.error);
  one(".stop").hidden = !seen.going;
  if (!seen.stopping) one(".stop").disabled = false;
  one(".bar").hidden = !seen.going;
  one("progress").value = 100 * (seen.share || 0);
  one(".share").textContent = seen.told || "";
  one(".shots").replaceChildren(...(seen.pictures || []).map((each) => make("figure", {},
    make("img", { src: each.src, alt: `${seen.prompt}: strength ${each.at}, after ${seen.after} iterations`, className: each.small ? "small" : "" }),
    make("figcaption", { textContent: each.at }))));
  const losses = seen.losses || [];
  one(".losses").hidden = losses.length < 2;
  if (losses.length > 1) {
    one(".line").setAttribute("d", line(losses, seen.turn || 1));
    const last = losses.slice(-(seen.turn || 1));
    one(".losses figcaption").textContent = `loss ${(last.reduce((a, b) => a + b, 0) / last.length).toPrecision(3)} after ${losses.length} iterations`;
  }
  const status = one(".status");
  status.textContent = seen.error || seen.status || "";
  status.classList.toggle("wrong", Boolean(seen.error));
});
