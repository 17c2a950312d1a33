// What the theme leaves out for who uses a keyboard or a screen reader: what scrolls can be reached, captions have a level.
document.addEventListener("DOMContentLoaded", () => {
  for (const scrolls of document.querySelectorAll("pre, .table-wrapper")) scrolls.tabIndex = 0;
  for (const caption of document.querySelectorAll('[role="heading"]:not([aria-level])')) caption.ariaLevel = "2";
});
