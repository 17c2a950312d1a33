const one = (selector) => element.querySelector(selector);
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};
one(".stop").addEventListener("click", () => trigger("halt", {}));
watch("value", () => {
  const seen = props.value || {};
  one(".bar").hidden = !seen.going;
  one("progress").value = 100 * (seen.share || 0);
  one(".share").textContent = seen.told || "";
  one(".status").textContent = seen.error || seen.status || "";
  one(".status").classList.toggle("wrong", Boolean(seen.error));
  one(".scroll").classList.toggle("waiting", Boolean(seen.going));
  one(".idle").hidden = Boolean(seen.going || seen.rows || seen.error || !one(".scroll").hidden);
  if (!seen.rows) return;
  one(".scroll").hidden = false;
  one(".hint").textContent = seen.score;
  one("thead tr").replaceChildren(make("td"), ...seen.columns.map((text) => make("th", { scope: "col", textContent: text })));
  one("tbody").replaceChildren(...seen.rows.map((row) => make("tr", {}, make("th", { scope: "row", textContent: row.label }),
    ...row.cells.map((cell) => make("td", {}, make("img", { src: cell.src, alt: cell.alt, className: seen.small ? "small" : "" }),
      make("span", { textContent: cell.score }))))));
  one("table").style.setProperty("--columns", seen.columns.length);
});
