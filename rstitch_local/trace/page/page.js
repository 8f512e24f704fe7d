"use strict";
// Without this script the title of a token shows the same numbers, but not the predictions of both models.
const tokens = [...document.querySelectorAll(".answer .t")];
const tooltip = document.getElementById("tooltip");
const chart = document.querySelector(".chart");
const cursor = document.querySelector(".cursor");
let selected = null;
let pinned = false;

function createElement(name, text, className) {
  const element = document.createElement(name);
  // As text and not as HTML: it comes from a model.
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function percent(share) {
  return share >= 0.9995 ? "100 %" : share < 0.001 ? "< 0.1 %" : (100 * share).toFixed(1) + " %";
}

function fillTooltip(token) {
  const [head, ...lines] = token.dataset.title.split("\n");
  tooltip.replaceChildren(createElement("b", head), ...lines.map(line => createElement("div", line)));
  const predictions = createElement("div", "", "predictions");
  for (const [name, entropy, candidates] of JSON.parse(token.dataset.predictions || "[]")) {
    const list = createElement("ul", "", name.toLowerCase());
    list.append(createElement("b", `${name} prediction`), createElement("div", `entropy ${entropy}`));
    for (const [text, share, chosen] of candidates) {
      const row = createElement("li", "", chosen ? "chosen" : "");
      const bar = createElement("u", "");
      bar.append(createElement("s", ""));
      bar.firstChild.style.width = 100 * share + "%";
      row.append(createElement("i", text), bar, createElement("span", percent(share)));
      list.append(row);
    }
    predictions.append(list);
  }
  if (predictions.firstChild) tooltip.append(predictions);
}

function placeTooltip() {
  const box = selected.getClientRects()[0] || selected.getBoundingClientRect();
  const below = box.bottom + 6;
  const above = box.top - tooltip.offsetHeight - 6;
  tooltip.style.left = Math.max(4, Math.min(box.left, innerWidth - tooltip.offsetWidth - 4)) + "px";
  tooltip.style.top = (below + tooltip.offsetHeight > innerHeight && above > 0 ? above : below) + "px";
}

function select(token, pin = false) {
  if (selected) {
    selected.title = selected.dataset.title;
    selected.classList.remove("selected");
  }
  selected = token;
  pinned = pin;
  tooltip.hidden = !token;
  if (chart) cursor.setAttribute("visibility", token ? "visible" : "hidden");
  if (!token) return;
  token.dataset.title = token.title;
  token.removeAttribute("title");
  token.classList.add("selected");
  fillTooltip(token);
  placeTooltip();
  if (chart) {
    const left = +chart.dataset.left, width = chart.dataset.right - left;
    const x = left + width * (tokens.indexOf(token) + 0.5) / tokens.length;
    cursor.setAttribute("transform", `translate(${x} 0)`);
  }
}

function revealToken(token, block) {
  const details = token.closest("details");
  if (details) details.open = true;
  token.scrollIntoView({ block });
  requestAnimationFrame(() => select(token, true));
}

document.addEventListener("mouseover", event => {
  const token = event.target.closest(".answer .t");
  if (!pinned && token !== selected) select(token);
});
document.addEventListener("click", event => {
  if (event.target.closest(".chart")) return;
  const token = event.target.closest(".answer .t");
  select(token === selected && pinned ? null : token, true);
  if (!token) pinned = false;
});
document.addEventListener("scroll", () => {
  if (pinned) placeTooltip();
  else if (selected) select(null);
}, { passive: true });

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") select(null);
  if (!tokens.length || !event.target.closest(".answer")) return;
  const index = tokens.indexOf(selected);
  const first = tokens.indexOf(event.target.querySelector(".t"));
  const isSwap = token => token.classList.contains("swap");
  const target = {
    ArrowRight: () => tokens[index < 0 ? first : index + 1],
    ArrowLeft: () => tokens[index < 0 ? first : index - 1],
    Home: () => tokens[0],
    End: () => tokens.at(-1),
    n: () => tokens.slice(index + 1).find(isSwap),
    p: () => tokens.slice(0, Math.max(0, index)).findLast(isSwap),
  }[event.key];
  if (!target) return;
  event.preventDefault();
  const token = target();
  if (token) revealToken(token, "nearest");
});

if (chart) chart.addEventListener("click", event => {
  const left = +chart.dataset.left, width = chart.dataset.right - left;
  const x = (event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth * chart.viewBox.baseVal.width;
  const token = tokens[Math.floor((x - left) / width * tokens.length)];
  if (token) revealToken(token, "center");
});
