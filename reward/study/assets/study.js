// The page on which raters compare two sets of pictures. Pictures are fetched ahead, and answers
// wait in a queue, so that neither a slow line nor none keeps a rater from going on.
import { Keys } from "/shared/keys.js";
import { Queue, ask } from "/shared/queue.js";
import {
  $, Watch, buttons, enterAgain, fail, fetchPicture, give, leaveButton, showQueue, signedOut,
} from "/shared/work.js";

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
const watch = new Watch(); // since the pictures were seen

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
  Object.assign(picture, await fetchPicture("/picture/" + name, () => picture.uses > 0));
  if (picture.uses === 0 && picture.url) URL.revokeObjectURL(picture.url);
  if (now && all(now).includes(name)) show();
}

// fill asks for queries when few of a question are ahead.
async function fill(last = 0) {
  if (fetching || signedOut) return;
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

// next shows the query that comes next.
function next() {
  if (now) release(now);
  now = ahead.shift() ?? null;
  watch.reset();
  show();
  fill();
}

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
    if (loaded && watch.since === 0) watch.begin();
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
  $("progress").textContent = `${rater}: ${voted} of ${counts.asked} answered`;
  showQueue(queue);
}

function act(what) {
  if ($("zoomed").open) $("zoomed").close();
  if (what === "undo") undo();
  else choose(what);
}

function choose(choice) {
  if (!now) return;
  if (!ready(now)) {
    say("The pictures are not all here yet");
    return;
  }
  const { pair, question } = now;
  if (!give(queue, { pair, question, choice, taken_ms: watch.ms() })) return;
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
  if (!give(queue, { pair: query.pair, question: query.question, choice: "" })) {
    history.push(last);
    return;
  }
  answered.delete(key(query));
  voted = Math.max(0, voted - 1);
  if (now) ahead.unshift(now);
  now = hold(query);
  watch.reset();
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

buttons(act, () => queue);
$("again").addEventListener("click", () => fill());
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
  fail(error);
}
