"use strict";
for (const form of document.querySelectorAll("form.filter")) {
  const list = document.getElementById(form.dataset.of);
  const items = [...list.querySelectorAll("[data-item]")];
  const said = form.querySelector("[role=status]");
  const apply = () => {
    const wanted = [...new FormData(form)].filter(([, value]) => value !== "");
    let shown = 0;
    for (const item of items) {
      item.hidden = !wanted.every(([name, value]) => item.dataset[name] === value);
      shown += !item.hidden;
    }
    form.dataset.all = shown === items.length;
    said.textContent = `${shown} of ${items.length} shown`;
  };
  form.addEventListener("change", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  apply();
}
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of opened) details.open = false;
});
