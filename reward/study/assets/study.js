// The page on which raters compare two sets of pictures. Pictures are fetched ahead, and answers
// wait in a queue, so that neither a slow line nor none keeps a rater from going on.
import { Queue, ask, newID } from "/shared/queue.js";
import { Keys } from "/shared/keys.js";

const $ = (id) => document.getElementById(id);
const wanted = 6; // queries of each question ahead: enough for ten answers without a network
const names = { left: "Left", right: "Right", tie: "Tie", "both bad": "Both bad" };
const texts = {
  alignment: ["Which set follows the text better?",
    "Count, colours, places: what the text says. Beauty does not matter."],
  fidelity: ["Which set looks better?",
    "Real, clean, without faults, whatever the text says."],
};

let queue;
let rater = "";
let counts = { asked: 0, open: 0 };
let voted = 0;
let now = null;          // the query that is shown
let ahead = [];          // those that come next
let history = [];        // what was answered and can be taken back, the newest last
const answered = new Set(); // queries that this page has an answer to
const pictures = new Map(); // by name: { url, problem, uses }
let fetching = false;
let asked = false;       // the program has been asked for queries, and has answered
let since = 0;           // when the pictures were seen, in ms; 0 before
let away = 0;            // how long the page was hidden since then

const keys = new Keys({
  first: {
    left: ["ArrowLeft", "1"], right: ["ArrowRight", "2"], tie: ["ArrowDown", "3", "t"],
    "both bad": ["ArrowUp", "4", "x"], undo: ["Backspace", "u"],
  },
  titles: { ...names, undo: "Undo" }, where: "kudos-study-keys", act,
});

const key = (query) => query.question + " " + query.pair;
const all = (query) => [...query.left, ...query.right];
const ready = (query) => all(query).every((name) => pictures.get(name)?.url);

// hold fetches the pictures of a query as soon as it is known. Both questions of a pair share them.
function hold(query) {
  for (const name of all(query)) {
    const known = pictures.get(name);
    if (known) known.uses++;
    else {
      const picture = { uses: 1, problem: "" };
      pictures.set(name, picture);
      load(name, picture);
    }
  }
  return query;
}

function release(query) {
  for (const name of all(query)) {
    const picture = pictures.get(name);
    if (!picture || --picture.uses > 0) continue;
    pictures.delete(name);
    if (picture.url) URL.revokeObjectURL(picture.url);
  }
}

async function load(name, picture) {
  for (let delay = 500; picture.uses > 0; delay = Math.min(2 * delay, 10_000)) {
    let response;
    try {
      response = await fetch("/picture/" + name);
      if (response.ok) {
        picture.url = URL.createObjectURL(await response.blob());
        break;
      }
    } catch { /* no network: again */ }
    if (response && response.status !== 429 && response.status !== 503) {
      picture.problem = "The picture cannot be shown: " +
        ((await response.json().catch(() => null))?.error ?? response.status);
      break;
    }
    await new Promise((done) => setTimeout(done, delay));
  }
  if (now && all(now).includes(name)) show();
}

// fill asks for queries when few of a question are ahead.
async function fill(last = 0) {
  if (fetching) return;
  const have = { alignment: 0, fidelity: 0 };
  for (const query of [...ahead, ...(now ? [now] : [])]) have[query.question]++;
  const need = { alignment: 0, fidelity: 0 };
  for (const question in need)
    if (have[question] <= wanted / 2)
      need[question] = Math.min(60, wanted + have[question] +
        queue.waiting().filter((answer) => answer.question === question).length);
  if (need.alignment + need.fidelity === 0) return;
  fetching = true;
  try {
    const answer = await ask(
      `/next?alignment=${need.alignment}&fidelity=${need.fidelity}&last=${last}`);
    counts = answer;
    asked = true;
    const known = new Set([...ahead, ...(now ? [now] : [])].map(key));
    for (const query of answer.next)
      if (!known.has(key(query)) && !answered.has(key(query))) ahead.push(hold(query));
    if (last > 0) {
      history = answer.last.reverse();
      voted = answer.voted;
    }
    $("problem").textContent = "";
  } catch (error) {
    if (error.status === 401) enterAgain();
    else if (ahead.length === 0 && !now) $("problem").textContent = error.message;
  } finally {
    fetching = false;
  }
  if (!now && ahead.length > 0) next();
  else if (!now) show();
  else showProgress();
}

function enterAgain() {
  $("problem").replaceChildren(
    "You are not signed in here any more. What you have said waits in this browser. ",
    Object.assign(document.createElement("a"), { href: "/enter", textContent: "Sign in" }));
}

// next shows the query that comes next.
function next() {
  if (now) release(now);
  now = ahead.shift() ?? null;
  begin();
  show();
  fill();
}

function begin() {
  since = 0;
  away = 0;
}

let hiddenAt = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt > 0 && since > 0) away += performance.now() - Math.max(hiddenAt, since);
});

let shown = ""; // the question of the last query, to say when it changes
function show() {
  $("nothing").hidden = now !== null || !asked;
  for (const id of ["asked", "stage", "choices"]) $(id).hidden = now === null;
  $("controls").hidden = now === null && history.length === 0; // the last answer can be taken back
  if (now) {
    const [question, hint] = texts[now.question];
    $("question").textContent = question;
    $("hint").textContent = hint;
    $("asked").className = now.question;
    $("prompt").textContent = now.prompt;
    for (const side of ["left", "right"])
      $(side).replaceChildren(...now[side].map((name, i) => figure(name, side, i)));
    const columns = Math.ceil(Math.sqrt(now.left.length));
    $("stage").dataset.columns = Math.min(columns, 3);
    const loaded = ready(now);
    $("stage").setAttribute("aria-busy", String(!loaded));
    if (loaded && since === 0) since = performance.now();
    if (shown !== "" && shown !== now.question) say(question);
    shown = now.question;
  } else {
    $("nothing-text").textContent = nothing();
  }
  showProgress();
}

function nothing() {
  if (counts.open === 0 || voted >= counts.asked) return "Everything is answered. Thank you!";
  return "There is nothing for you now: you have answered what you can, or others have the rest.";
}

function figure(name, side, i) {
  const picture = pictures.get(name);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "picture";
  const what = `${names[side]} set, picture ${i + 1} of ${now[side].length}`;
  button.setAttribute("aria-label", what + ". Enlarge.");
  if (picture?.url) {
    button.append(Object.assign(document.createElement("img"),
      { src: picture.url, alt: what, draggable: false }));
    button.addEventListener("click", (event) => {
      leaveButton(event);
      $("large").src = picture.url;
      $("large").alt = what;
      $("zoomed").showModal();
    });
  } else {
    button.textContent = picture?.problem || "On its way …";
  }
  return button;
}

function showProgress() {
  const waiting = queue.waiting().length;
  $("progress").textContent = `${rater}: ${voted} of ${counts.asked} answered`;
  const refused = queue.refused.at(-1);
  $("network").textContent = refused ? `An answer was refused: ${refused.why}` :
    waiting === 0 ? "All is kept." :
    `${waiting} ${waiting === 1 ? "answer waits" : "answers wait"}. ${queue.problem}`;
  if (waiting > 0 && queue.problem !== "" && queue.status === 401) enterAgain();
}

function act(what) {
  if ($("zoomed").open) $("zoomed").close();
  if (what === "undo") undo();
  else choose(what);
}

// give puts an answer into the queue.
function give(answer) {
  try {
    queue.add({ id: newID(), taken_ms: 0, ...answer });
  } catch (error) {
    $("problem").textContent = `This browser keeps nothing any more, so nothing was said: ${error}`;
    return false;
  }
  return true;
}

function choose(choice) {
  if (!now) return;
  if (!ready(now)) {
    say("The pictures are not all here yet");
    return;
  }
  const { pair, question } = now;
  const given = give({
    pair, question, choice,
    taken_ms: Math.round(Math.max(0, performance.now() - since - away)),
  });
  if (!given) return;
  $("problem").textContent = "";
  answered.add(key(now));
  voted++;
  const { prompt, left, right } = now;
  history.push({ pair, question, prompt, left, right, choice });
  say(names[choice]);
  next();
}

// undo takes back the last answer and shows its pictures again.
function undo() {
  const last = history.pop();
  if (!last) {
    say("There is nothing to take back");
    return;
  }
  const { choice, ...query } = last;
  if (!give({ pair: query.pair, question: query.question, choice: "" })) {
    history.push(last);
    return;
  }
  answered.delete(key(query));
  voted = Math.max(0, voted - 1);
  if (now) ahead.unshift(now);
  now = hold(query);
  begin();
  show();
  say(`Taken back: ${names[choice]}`);
}

// say tells a screen reader what has happened and what is next.
let saying = 0;
let said = [];
function say(what) {
  said.push(what);
  clearTimeout(saying);
  saying = setTimeout(() => {
    $("heard").textContent = said.join(". ") + ". " + (now ? "Text: " + now.prompt : nothing());
    said = [];
  }, 50);
}

// leaveButton gives the keyboard back to the page after a click, so that the space bar does not
// press the same button again.
function leaveButton(event) {
  if (event.detail > 0) document.activeElement?.blur();
}

for (const button of document.querySelectorAll("button[data-act]"))
  button.addEventListener("click", (event) => {
    leaveButton(event);
    act(button.dataset.act);
  });
$("zoomed").addEventListener("click", (event) => {
  if (event.target === $("zoomed") || event.target === $("large")) $("zoomed").close();
});
$("again").addEventListener("click", () => fill());
$("leave").addEventListener("click", async () => {
  await queue.settled();
  try {
    location.replace((await ask("/leave", {})).to);
  } catch (error) {
    $("problem").textContent = error.message;
  }
});
setInterval(() => { if (!now) fill(); }, 3000);
addEventListener("online", () => fill());

// The queue is the rater's: who that is the program says.
try {
  const answer = await ask("/next");
  rater = answer.rater;
  counts = answer;
  queue = new Queue(rater, "/votes", () => {
    showProgress();
    if (!now) fill();
  });
  await queue.settled(); // what an earlier page could not send, before more is asked for
  await fill(20);
} catch (error) {
  $("problem").textContent = error.message;
  if (error.status === 401) location.replace("/enter");
}
