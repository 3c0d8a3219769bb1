"use strict";

// The picture under an edit is that row's reconstruction; its data is in the page once.
for (const row of document.querySelectorAll(".row")) {
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
