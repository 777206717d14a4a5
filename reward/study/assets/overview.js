// The owner's page: how far the study is and what it amounts to. It asks every two seconds.
import { ask } from "/shared/queue.js";

const $ = (id) => document.getElementById(id);
const number = (x, as) => (x === null || x === undefined ? "–" : as(x));
const percent = (x) => Math.round(100 * x) + " %";
const whole = (x) => String(Math.round(100 * x));
const signed = (x) => {
  const n = Math.round(100 * x);
  return (n > 0 ? "+" : n < 0 ? "−" : "") + Math.abs(n);
};
const plain = (x) => x.toFixed(2);
// within is a value with its interval, of which the unit is said once.
const within = (s, as, unit = "") => (s.value === null ? "–" : as(s.value) + unit +
  (s.low === null ? "" : ` (${as(s.low)} to ${as(s.high)})`));

// fill writes a table.
function fill(table, head, rows) {
  const row = (cells, tag) => {
    const tr = document.createElement("tr");
    for (const cell of cells) {
      const td = document.createElement(tag);
      if (tag === "th") td.scope = "col";
      td.textContent = cell;
      tr.append(td);
    }
    return tr;
  };
  table.replaceChildren(...(rows.length === 0 ? [] :
    [row(head, "th"), ...rows.map((cells) => row(cells, "td"))]));
}

const total = (v) => v.a + v.b + v.tie + v.both_bad;
const share = (n, of) => (of === 0 ? "–" : `${n} (${percent(n / of)})`);

function show(o) {
  $("title").textContent = `Study “${o.study}”`;
  $("bar").max = Math.max(1, o.questions.reduce((n, q) => n + q.pairs * q.wanted, 0));
  $("bar").value = o.questions.reduce((n, q) => n + total(q.votes), 0);
  const r = o.analysis?.found.result;
  const a = r?.model_a ?? "A", b = r?.model_b ?? "B";
  fill($("work"),
    ["question", "pairs complete", "votes", `for ${a}`, `for ${b}`, "tie", "both bad"],
    o.questions.map((q) => [q.question, `${q.complete} of ${q.pairs}`,
      `${total(q.votes)} of ${q.pairs * q.wanted}`, share(q.votes.a, total(q.votes)),
      share(q.votes.b, total(q.votes)), share(q.votes.tie, total(q.votes)),
      share(q.votes.both_bad, total(q.votes))]));
  for (const id of ["result", "agreement-part", "raters-part"]) $(id).hidden = !r;
  if (!r) return;
  $("verdict").textContent = o.analysis.found.verdict;
  fill($("groups"), ["question", "prompts", "pairs", `${a} wins`, "loses", "tie", "wins − losses"],
    r.questions.flatMap((q) => q.groups.map((g) => [q.question, g.name, g.pairs,
      within(g.win, whole, " %"), within(g.lose, whole, " %"), within(g.tie, whole, " %"),
      within(g.difference, signed, " %")])));
  fill($("agreement"), ["question", "measure", "value", "pairs"],
    r.questions.flatMap((q) => q.agreement.map((m) =>
      [q.question, m.name, m.why || within(m, plain), m.pairs])));
  fill($("raters"),
    ["rater", "votes", `for ${a}`, `for ${b}`, "tie", "both bad", "for the left", "seconds each"],
    o.analysis.found.raters.map((l) => [l.name, total(l.votes), l.votes.a, l.votes.b, l.votes.tie,
      l.votes.both_bad, l.left < 0 ? "–" : share(l.left, l.votes.a + l.votes.b),
      number(l.seconds, (s) => s.toFixed(1))]));
  $("age").textContent = `All but the first table is of ${o.analysis.answers} votes, ` +
    `${Math.round(o.analysis.age_s)} s ago.`;
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

await look();
setInterval(() => { if (!document.hidden) look(); }, 2000);
