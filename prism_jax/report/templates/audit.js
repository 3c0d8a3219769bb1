"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const behind = document.getElementById("behind");
const titles = { original: "Original", reconstruction: "Reconstruction", edited: "Edit", difference: "Difference", truth: "True counterfactual" };
const ranks = { largest: "among the largest effects", middle: "in the middle", smallest: "among the smallest effects" };

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function film(exhibit, place, kind) {
  const alt = `${titles[kind]}, image ${exhibit.image}`;
  const image = element("img", { src: data.pictures[place], width: exhibit.width, height: exhibit.height, alt, loading: "lazy" });
  const button = element("button", { className: "enlarge", type: "button", ariaLabel: `Enlarge: ${alt}` }, image);
  button.addEventListener("click", () => enlarge(image));
  const stage = element("div", { className: "stage" }, button);
  return element("figure", { className: `film film-${kind}` }, stage, element("figcaption", { textContent: titles[kind] }));
}

function shown([place, rank, change], column) {
  const exhibit = data.exhibits[place];
  const header = element(
    "header",
    {},
    element("b", { textContent: change }),
    element("span", { textContent: `${ranks[rank]} · image ${exhibit.image} · patient ${exhibit.patient}` }),
    element("span", { textContent: exhibit.readings[column] || "" }),
  );
  const films = exhibit.films.map((picture, i) => film(exhibit, picture, data.kinds[i]));
  return element("article", { className: "exhibit" }, header, element("div", { className: "films" }, ...films));
}

// The pictures of a cell are those of its edit, sorted by what the judges together saw change in its attribute.
function open(button) {
  const { row, column, edit, attribute, detail } = button.dataset;
  const cases = (data.cells[`${row},${column}`] || []).map((one) => shown(one, Number(column)));
  for (const other of document.querySelectorAll(".heat button")) {
    other.setAttribute("aria-expanded", String(other.dataset.row === row && other.dataset.column === column));
  }
  behind.replaceChildren(
    element("h2", { textContent: `${edit}: ${attribute}` }),
    element("p", { textContent: detail }),
    ...(cases.length ? cases : [element("p", { className: "note", textContent: "Nothing was measured here." })]),
  );
  behind.hidden = false;
  behind.scrollIntoView({ block: "start" });
  behind.focus({ preventScroll: true });
}

for (const button of document.querySelectorAll(".heat button")) {
  button.addEventListener("click", () => open(button));
}

for (const choice of document.querySelectorAll(".views input")) {
  choice.addEventListener("change", () => {
    for (const map of document.querySelectorAll(".heat")) map.hidden = map.id !== choice.value;
  });
}

const lightbox = document.getElementById("lightbox");
function enlarge(image) {
  lightbox.querySelector(".stage").replaceChildren(image.cloneNode());
  lightbox.querySelector("p").textContent = image.alt;
  lightbox.showModal();
}
lightbox.addEventListener("click", (event) => {
  if (!event.target.closest("form")) lightbox.close();
});
