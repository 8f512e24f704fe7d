"use strict";
// Without this script a token's title shows the same, a moment later.
const tokens = [...document.querySelectorAll(".answer .t")];
const tip = document.getElementById("tip");
const chart = document.getElementById("chart");
const cursor = document.getElementById("cursor");
let marked = null;

function mark(token) {
  if (marked) {
    marked.title = marked.dataset.tip;
    marked.classList.remove("here");
  }
  marked = token;
  tip.hidden = !token;
  if (chart) cursor.setAttribute("visibility", token ? "visible" : "hidden");
  if (!token) return;
  token.dataset.tip = token.title;
  token.removeAttribute("title");
  token.classList.add("here");
  tip.textContent = token.dataset.tip;
  const box = token.getClientRects()[0] || token.getBoundingClientRect();
  const left = Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4));
  const below = box.bottom + 6;
  tip.style.left = left + "px";
  tip.style.top = (below + tip.offsetHeight > innerHeight ? box.top - tip.offsetHeight - 6 : below) + "px";
  if (chart) {
    const left = +chart.dataset.left, width = chart.dataset.right - left;
    const x = left + width * (tokens.indexOf(token) + 0.5) / tokens.length;
    cursor.setAttribute("transform", `translate(${x} 0)`);
  }
}

document.addEventListener("mouseover", event => {
  const token = event.target.closest(".answer .t");
  if (token !== marked) mark(token);
});
document.addEventListener("scroll", () => mark(null), { passive: true });

if (chart) chart.addEventListener("click", event => {
  const left = +chart.dataset.left, width = chart.dataset.right - left;
  const x = (event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth * chart.viewBox.baseVal.width;
  const token = tokens[Math.floor((x - left) / width * tokens.length)];
  if (!token) return;
  const fold = token.closest("details");
  if (fold) fold.open = true;
  token.scrollIntoView({ block: "center" });
  requestAnimationFrame(() => mark(token));
});
