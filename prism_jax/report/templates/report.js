"use strict";

// The picture under an edit is that row's reconstruction; its data is in the page once.
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

function fade(film, share) {
  const slider = film.querySelector("input");
  film.style.setProperty("--fade", share);
  slider.value = 100 * share;
  slider.setAttribute("aria-valuetext", STAGES[Math.round(2 * share)]);
}

function advance(now) {
  // There and back, resting a little at either end.
  const share = 0.5 - 0.65 * Math.cos((2 * Math.PI * now) / 1000 / SECONDS);
  for (const film of playing) fade(film, Math.min(Math.max(share, 0), 1));
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

const lightbox = document.getElementById("lightbox");
for (const button of document.querySelectorAll(".enlarge")) {
  button.addEventListener("click", () => {
    const images = [...button.querySelectorAll("img:not(.under)")].map((image) => image.cloneNode());
    lightbox.querySelector(".stage").replaceChildren(...images);
    lightbox.querySelector("p").textContent = images[0].alt;
    lightbox.showModal();
  });
}
lightbox.addEventListener("click", (event) => {
  if (!event.target.closest("form")) lightbox.close();
});

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
