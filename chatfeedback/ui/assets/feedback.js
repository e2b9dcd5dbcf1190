// Feedback table: a click anywhere on a row opens its conversation, like its button; Escape closes it.
element.addEventListener("click", (event) => {
  const button = event.target.closest("tr")?.querySelector("button[data-row]");
  if (!button || window.getSelection()?.toString()) return;
  element.querySelector("button[data-opened]")?.removeAttribute("data-opened");
  button.setAttribute("data-opened", "");
  trigger("select", { row: Number(button.dataset.row) });
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector("#analytics-close")?.click();
});
