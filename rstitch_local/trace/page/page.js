"use strict";
// Without this script a token's title shows the same, a moment later, but for what else the models would have written.
const tokens = [...document.querySelectorAll(".answer .t")];
const tip = document.getElementById("tip");
const chart = document.querySelector(".chart");
const cursor = document.querySelector(".cursor");
let marked = null;
let pinned = false;

function element(name, text, kind) {
  const made = document.createElement(name);
  // Never as HTML: these are a model's words.
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function percent(share) {
  return share >= 0.9995 ? "100 %" : share < 0.001 ? "< 0.1 %" : (100 * share).toFixed(1) + " %";
}

function fill(token) {
  const [head, ...lines] = token.dataset.tip.split("\n");
  tip.replaceChildren(element("b", head), ...lines.map(line => element("div", line)));
  const views = element("div", "", "views");
  for (const [name, entropy, candidates] of JSON.parse(token.dataset.view || "[]")) {
    const list = element("ul", "", name.toLowerCase());
    list.append(element("b", `${name} would write`), element("div", `entropy ${entropy}`));
    for (const [text, share, taken] of candidates) {
      const row = element("li", "", taken ? "taken" : "");
      const bar = element("u", "");
      bar.append(element("s", ""));
      bar.firstChild.style.width = 100 * share + "%";
      row.append(element("i", text), bar, element("span", percent(share)));
      list.append(row);
    }
    views.append(list);
  }
  if (views.firstChild) tip.append(views);
}

function place() {
  const box = marked.getClientRects()[0] || marked.getBoundingClientRect();
  const below = box.bottom + 6;
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 4)) + "px";
  tip.style.top = (below + tip.offsetHeight > innerHeight && above > 0 ? above : below) + "px";
}

function mark(token, pin = false) {
  if (marked) {
    marked.title = marked.dataset.tip;
    marked.classList.remove("here");
  }
  marked = token;
  pinned = pin;
  tip.hidden = !token;
  if (chart) cursor.setAttribute("visibility", token ? "visible" : "hidden");
  if (!token) return;
  token.dataset.tip = token.title;
  token.removeAttribute("title");
  token.classList.add("here");
  fill(token);
  place();
  if (chart) {
    const left = +chart.dataset.left, width = chart.dataset.right - left;
    const x = left + width * (tokens.indexOf(token) + 0.5) / tokens.length;
    cursor.setAttribute("transform", `translate(${x} 0)`);
  }
}

function show(token, block) {
  const fold = token.closest("details");
  if (fold) fold.open = true;
  token.scrollIntoView({ block });
  requestAnimationFrame(() => mark(token, true));
}

document.addEventListener("mouseover", event => {
  const token = event.target.closest(".answer .t");
  if (!pinned && token !== marked) mark(token);
});
document.addEventListener("click", event => {
  if (event.target.closest(".chart")) return;
  const token = event.target.closest(".answer .t");
  mark(token === marked && pinned ? null : token, true);
  if (!token) pinned = false;
});
document.addEventListener("scroll", () => {
  if (pinned) place();
  else if (marked) mark(null);
}, { passive: true });

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") mark(null);
  if (!tokens.length || !event.target.closest(".answer")) return;
  const at = tokens.indexOf(marked);
  const first = tokens.indexOf(event.target.querySelector(".t"));
  const swap = token => token.classList.contains("swap");
  const target = {
    ArrowRight: () => tokens[at < 0 ? first : at + 1],
    ArrowLeft: () => tokens[at < 0 ? first : at - 1],
    Home: () => tokens[0],
    End: () => tokens.at(-1),
    n: () => tokens.slice(at + 1).find(swap),
    p: () => tokens.slice(0, Math.max(0, at)).findLast(swap),
  }[event.key];
  if (!target) return;
  event.preventDefault();
  const token = target();
  if (token) show(token, "nearest");
});

if (chart) chart.addEventListener("click", event => {
  const left = +chart.dataset.left, width = chart.dataset.right - left;
  const x = (event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth * chart.viewBox.baseVal.width;
  const token = tokens[Math.floor((x - left) / width * tokens.length)];
  if (token) show(token, "center");
});
