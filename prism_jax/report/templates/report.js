"use strict";

// The image under an edit is that row's reconstruction; its data is in the page once.
for (const row of document.querySelectorAll(".row:has(.film-edit)")) {
  const edit = row.querySelector(".film-edit");
  const under = edit.querySelector(".under");
  const slider = edit.querySelector("input");
  under.src = row.querySelector(".film-reconstruction img").src;
  under.hidden = false;
  slider.addEventListener("input", () => {
    edit.style.setProperty("--cut", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} percent reconstruction`);
  });
}

// Original, reconstruction and edit of a row, faded into each other by hand or, while it plays, by the clock.
const SECONDS = 5;
const STAGES = ["original", "reconstruction", "edit"];
const playing = new Set();

function fade(film, fraction) {
  const slider = film.querySelector("input");
  film.style.setProperty("--fade", fraction);
  slider.value = 100 * fraction;
  slider.setAttribute("aria-valuetext", STAGES[Math.round(2 * fraction)]);
}

function advance(now) {
  // There and back, resting a little at either end.
  const fraction = 0.5 - 0.65 * Math.cos((2 * Math.PI * now) / 1000 / SECONDS);
  for (const film of playing) fade(film, Math.min(Math.max(fraction, 0), 1));
  if (playing.size) requestAnimationFrame(advance);
}

function play(film, isOn) {
  const wasIdle = !playing.size;
  if (isOn) playing.add(film);
  else playing.delete(film);
  film.querySelector(".play").setAttribute("aria-pressed", isOn);
  if (wasIdle && isOn) requestAnimationFrame(advance);
}

for (const film of document.querySelectorAll(".film-fade")) {
  film.querySelectorAll(".step").forEach((step, i) => {
    step.src = film.closest(".row").querySelector(`.film-${STAGES[i]} img`).src;
    step.hidden = false;
  });
  film.querySelector("input").addEventListener("input", (event) => {
    play(film, false);
    fade(film, event.target.value / 100);
  });
  film.querySelector(".play").addEventListener("click", () => play(film, !playing.has(film)));
}

// One image, large.
const lightbox = document.getElementById("lightbox");
function enlarge(...images) {
  lightbox.querySelector(".stage").replaceChildren(...images.map((image) => image.cloneNode()));
  lightbox.querySelector("p").textContent = images[0].alt;
  lightbox.showModal();
}
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => enlarge(...button.querySelectorAll("img:not(.under)")));
}
lightbox.addEventListener("click", (event) => {
  if (!event.target.closest("form")) lightbox.close();
});

// The effect matrix: a click on a cell shows the images behind it.
const exhibits = document.getElementById("exhibits");
const data = exhibits ? JSON.parse(exhibits.textContent) : {};
const behind = document.getElementById("behind");
const titles = { original: "Original", reconstruction: "Reconstruction", edited: "Edit", difference: "Difference", truth: "True counterfactual" };
const ranks = { largest: "among the largest effects", middle: "near the median effect", smallest: "among the smallest effects" };

function element(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function film(exhibit, place, kind) {
  const alt = `${titles[kind]}, image ${exhibit.image}`;
  const image = element("img", { src: data.images[place], width: exhibit.width, height: exhibit.height, alt, loading: "lazy" });
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
  const films = exhibit.films.map((image, i) => film(exhibit, image, data.kinds[i]));
  return element("article", { className: "exhibit" }, header, element("div", { className: "films" }, ...films));
}

// The images behind a cell are those of its edit, sorted by the change of its attribute (mean of the judges).
function open(button) {
  const { row, column, edit, attribute, detail } = button.dataset;
  const articles = (data.cells[`${row},${column}`] || []).map((item) => shown(item, Number(column)));
  for (const other of document.querySelectorAll(".heat button")) {
    other.setAttribute("aria-expanded", String(other.dataset.row === row && other.dataset.column === column));
  }
  behind.replaceChildren(
    element("h2", { textContent: `${edit}: ${attribute}` }),
    element("p", { textContent: detail }),
    ...(articles.length ? articles : [element("p", { className: "note", textContent: "No image of this edit was scored." })]),
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

for (const chart of document.querySelectorAll(".chart")) {
  const figure = JSON.parse(chart.querySelector("script").textContent);
  Plotly.newPlot(chart, figure.data, figure.layout, {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  }).then(() => {
    fit(chart);
    chart.on("plotly_afterplot", () => fit(chart));
  });
}

// A page is laid out for paper without asking the charts; with a view box they scale.
function fit(chart) {
  for (const layer of chart.querySelectorAll(".main-svg")) {
    layer.setAttribute("viewBox", `0 0 ${layer.getAttribute("width")} ${layer.getAttribute("height")}`);
  }
}
