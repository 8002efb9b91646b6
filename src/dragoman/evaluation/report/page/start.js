// Everything once, and again where the choice or the width changes.
function drawAll() {
  const known = run().translation;
  if (!known.includes(chosen.metric)) chosen.metric = known.includes("COMET") ? "COMET" : known[0] || null;
  drawBar();
  drawMatrix();
  drawBars();
  drawScatters();
  drawTable();
  drawSamples();
}

const theme = document.getElementById("theme");
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

let before = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === before) return; // a phone's address bar comes and goes
  before = innerWidth;
  drawMatrix();
  drawBars();
  drawScatters();
});
addEventListener("scroll", untip, { passive: true });
drawSummary();
drawAll();
drawFooter();
