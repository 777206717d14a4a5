// The owner's page: how far the work is and what it amounts to. It asks every two seconds.
import { ask } from "/shared/queue.js";

const $ = (id) => document.getElementById(id);
const percent = (x, digits = 0) => (x === null ? "–" : (100 * x).toFixed(digits) + " %");
const plain = (x) => (x === null ? "–" : x.toFixed(2));
const between = (s, as) => `${as(s.low)} to ${as(s.high)}`;
const count = (n) => n.toLocaleString("en");

function hours(h) {
  if (h === null) return "–";
  if (h === 0) return "none";
  if (h < 1 / 60) return "under a minute";
  if (h < 1) return `${Math.round(60 * h)} min`;
  return h < 48 ? `${h.toFixed(1)} h` : `${(h / 24).toFixed(1)} days`;
}

function seconds(s) {
  if (s < 90) return `${Math.round(s)} s`;
  return s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}

// fill writes a table. A cell is a text, or an object with a text and a class.
function fill(table, head, rows) {
  const row = (cells, tag) => {
    const tr = document.createElement("tr");
    for (const cell of cells) {
      const td = document.createElement(tag);
      if (tag === "th") td.scope = "col";
      td.textContent = cell.text ?? cell;
      if (cell.kind) td.className = cell.kind;
      tr.append(td);
    }
    return tr;
  };
  table.replaceChildren(...(rows.length === 0 ? [] :
    [row(head, "th"), ...rows.map((cells) => row(cells, "td"))]));
}

function show(o) {
  $("bar").max = Math.max(1, o.pictures * o.wanted);
  $("bar").value = Math.max(0, o.pictures * o.wanted - o.left);
  const facts = [
    ["pictures", count(o.pictures)],
    ["raters for each", count(o.wanted)],
    ["complete", count(o.complete)],
    ["judgements", count(o.judged)],
    ["of them “can’t say”", count(o.skipped)],
    ["with raters now", count(o.leased)],
    ["good", o.good.n === 0 ? "–" : `${percent(o.good.value)} (${between(o.good, percent)})`],
    ["judgements an hour", o.per_hour === 0 ? "–" : count(Math.round(o.per_hour))],
    ["time left", hours(o.hours_left)],
  ];
  $("work").replaceChildren(...facts.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }));
    return pair;
  }));
  const known = new Map((o.analysis?.found.raters ?? []).map((r) => [r.name, r]));
  const gold = o.gold > 0;
  fill($("raters"),
    ["rater", "judged", "good", "can’t say", "seconds each", ...(gold ? ["known answers"] : []),
      "as most others", "right of good", "right of bad", "remark"],
    o.raters.map((r) => {
      const k = known.get(r.name), said = r.good + r.bad;
      return [r.name, count(said + r.skip), said === 0 ? "–" : percent(r.good / said),
        count(r.skip), r.seconds === null ? "–" : r.seconds.toFixed(1),
        ...(gold ? [r.gold === 0 ? "–" : `${r.right} of ${r.gold}`] : []),
        !k || k.with.n === 0 ? "–" : `${percent(k.with.value)} (${between(k.with, percent)})`,
        k ? percent(k.of_good) : "–", k ? percent(k.of_bad) : "–",
        k?.differs ? { text: "differs", kind: "differs" } : ""];
    }));
  const a = o.analysis?.found;
  $("categories-part").hidden = !a || a.categories.length === 0;
  if (a) {
    fill($("categories"), ["category", "good", "95 % interval", "judgements"],
      a.categories.map((c) => [c.name, percent(c.value), between(c, percent), count(c.n)]));
    fill($("agreement"), ["measure", "value", "95 % interval", "pictures"],
      a.agreement.map((m) => [m.name, m.why ? { text: m.why, kind: "soft" } : plain(m.value),
        m.why || m.low === null ? "–" : between(m, plain), count(m.n)]));
    fill($("pairs"), ["Cohen’s kappa of", "and", "value", "pictures"],
      a.pairs.map((p) => [p.a, p.b, plain(p.kappa), count(p.n)]));
    disputed(a.disputed);
    $("age").textContent = `Intervals, agreement, the raters’ last columns and disputed pictures are ` +
      `of ${count(o.analysis.answers)} judgements, ${seconds(o.analysis.age_s)} ago.`;
  }
  reward(o.reward);
}

let shown = "";
function disputed(pictures) {
  const now = JSON.stringify(pictures);
  if (now === shown) return; // not to load them again
  shown = now;
  $("disputed").replaceChildren(...pictures.map((p) => {
    const figure = document.createElement("figure");
    const img = Object.assign(document.createElement("img"),
      { src: p.image, alt: p.prompt, loading: "lazy" });
    const caption = document.createElement("figcaption");
    caption.textContent = `${p.good} good, ${p.bad} bad: ${p.prompt}`;
    figure.append(img, caption);
    return figure;
  }));
  if (pictures.length === 0) $("disputed").textContent = "None so far.";
}

let uncertain = false;
function reward(r) {
  $("reward-part").hidden = !r.possible;
  $("train").disabled = r.running;
  $("order").hidden = !r.order;
  uncertain = r.uncertain_first;
  $("order").textContent = uncertain ? "Show pictures in turn again" :
    "Show the pictures first that it is least sure of";
  const is = r.right ? `On pictures of prompts that it has not seen it is right about ` +
    `${percent(r.right.value)} (${between(r.right, percent)}) of ${count(r.right.n)}. ` +
    `It was learned ${seconds(r.age_s)} ago.` : "None was learned yet.";
  $("reward").textContent = r.running ? `It is being learned, for ${seconds(r.for_s)} so far.` :
    r.failed ? `It could not be learned: ${r.failed}` : is;
}

async function doing(path, sent) {
  try {
    await ask(path, sent);
    await look();
  } catch (error) {
    $("problem").textContent = error.message;
  }
}

async function look() {
  try {
    show(await ask("/overview.json"));
    $("problem").textContent = "";
  } catch (error) {
    if (error.status === 401) location.replace("/enter");
    $("problem").textContent = error.message;
  }
}

$("train").addEventListener("click", () => doing("/train", {}));
$("order").addEventListener("click", () => doing("/order", { uncertain: !uncertain }));
await look();
setInterval(() => { if (!document.hidden) look(); }, 2000);
