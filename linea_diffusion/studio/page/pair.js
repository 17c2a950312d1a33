const one = (selector) => element.querySelector(selector);
let shown = 0;
function choose(choice) {
  if (one(".choices").hidden || one(".pair").getAttribute("aria-busy") === "true") return;
  one(".pair").setAttribute("aria-busy", "true");
  trigger("choose", { choice, number: shown });
}
for (const button of element.querySelectorAll("[data-choice]")) button.addEventListener("click", () => choose(button.dataset.choice));
element.addEventListener("keydown", (event) => {
  const choice = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "neither" }[event.key];
  if (choice) { event.preventDefault(); choose(choice); }
});
watch("value", () => {
  const seen = props.value || {};
  one(".pair").setAttribute("aria-busy", "false");
  one(".status").textContent = seen.error || seen.status || "";
  one(".status").classList.toggle("wrong", Boolean(seen.error));
  if (seen.error) return;
  shown = seen.number;
  for (const part of [".two", ".choices"]) one(part).hidden = !seen.left;
  one(".idle").hidden = Boolean(seen.left || seen.status);
  one(".count").textContent = seen.left ? `Pair ${seen.number + 1} of ${seen.total}` : "";
  one(".of").textContent = seen.left ? seen.prompt : "";
  for (const side of ["left", "right"]) {
    const image = one(`img.${side}`);
    if (seen[side]) image.src = seen[side];
    image.classList.toggle("small", Boolean(seen.small));
  }
  if (seen.left && seen.number === 0) one("[data-choice=neither]").focus();
});
