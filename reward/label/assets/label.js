// The page on which raters judge pictures. Pictures are fetched ahead, and answers wait in a queue,
// so that neither a slow line nor none keeps a rater from going on.
import { Queue, ask, newID } from "/shared/queue.js";
import { Keys } from "/shared/keys.js";
import { swipes } from "/own/swipe.js";

const $ = (id) => document.getElementById(id);
const wanted = 16; // pictures ahead: enough for ten answers without a network
const names = { good: "Good", bad: "Bad", skip: "Can’t say" };

let queue;
let rater = "";
let counts = { judged: 0, complete: 0, pictures: 0, together: 1 };
let set = [];            // the pictures that are shown, of one prompt
let at = 0;              // the place of the marked one
let ahead = [];          // pictures that come next
let history = [];        // what was judged and can be taken back, the newest last
const judged = new Set(); // pictures that this page has an answer of
let fetching = false;
let asked = false;       // the program has been asked for pictures, and has answered
let since = 0;           // when the marked picture was seen, in ms
let away = 0;            // how long the page was hidden since then

// The keys are near Prodigy's at first.
const keys = new Keys({
  first: {
    good: ["a", "1", "ArrowRight"], bad: ["x", "0", "ArrowLeft"], skip: [" ", "s"],
    undo: ["Backspace", "u"], zoom: ["z"], reason: ["r"],
  },
  titles: { ...names, undo: "Undo", zoom: "Zoom", reason: "Say why" },
  where: "kudos-keys", act,
});

// A picture is fetched as soon as it is known, so that it is there when its turn comes.
function fetchPicture(picture) {
  picture.problem = "";
  picture.loading = (async () => {
    for (let delay = 500; ; delay = Math.min(2 * delay, 10_000)) {
      let response;
      try {
        response = await fetch(picture.image);
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
      if (picture.gone) return;
      await new Promise((done) => setTimeout(done, delay));
    }
    if (set.includes(picture)) show();
  })();
  return picture;
}

// fill asks for pictures when few are ahead.
async function fill(last = 0) {
  if (fetching || ahead.length > wanted / 2) return;
  fetching = true;
  try {
    const n = wanted + set.length + queue.waiting().length;
    const answer = await ask(`/next?n=${Math.min(n, 100)}&last=${last}`);
    counts = answer;
    asked = true;
    const known = new Set([...set, ...ahead].map((p) => p.id));
    for (const p of answer.next)
      if (!known.has(p.id) && !judged.has(p.id)) ahead.push(fetchPicture(p));
    if (last > 0) history = answer.last.reverse();
    $("problem").textContent = "";
  } catch (error) {
    if (error.status === 401) enterAgain();
    else if (ahead.length === 0 && set.length === 0) $("problem").textContent = error.message;
  } finally {
    fetching = false;
  }
  if (set.length === 0 && ahead.length > 0) nextSet();
  else if (set.length === 0) show();
  else showProgress();
}

function enterAgain() {
  $("problem").replaceChildren(
    "You are not signed in here any more. What you have said waits in this browser. ",
    Object.assign(document.createElement("a"), { href: "/enter", textContent: "Sign in" }));
}

// nextSet shows the pictures that come next: as many of one prompt as are shown together.
function nextSet() {
  for (const p of set) release(p);
  set = [];
  while (ahead.length > 0 && set.length < counts.together &&
      (set.length === 0 || ahead[0].prompt === set[0].prompt)) set.push(ahead.shift());
  at = 0;
  seen();
  show();
  fill();
}

function release(picture) {
  picture.gone = true;
  if (picture.url) URL.revokeObjectURL(picture.url);
}

function seen() {
  since = performance.now();
  away = 0;
}

let hiddenAt = 0;
document.addEventListener("visibilitychange", () => {
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt > 0) away += performance.now() - Math.max(hiddenAt, since);
});

function show() {
  const none = set.length === 0;
  $("nothing").hidden = !none || !asked;
  for (const button of document.querySelectorAll("button[data-act]"))
    button.hidden = none && button.dataset.act !== "undo"; // the last answer can be taken back
  $("question").hidden = none;
  if (none) {
    $("prompt").textContent = "";
    $("stage").replaceChildren();
    $("nothing-text").textContent = nothing();
  } else {
    $("prompt").textContent = set[0].prompt || "(no words)";
    $("stage").className = set.length > 1 ? "many" : "";
    $("stage").replaceChildren(...set.map(figure));
  }
  showProgress();
}

function nothing() {
  if (counts.pictures === 0) return "There are no pictures yet. They appear here by themselves.";
  if (counts.complete >= counts.pictures) return "Everything is judged. Thank you!";
  return "There is nothing for you now: you have judged what you can, or others have the rest.";
}

function figure(picture, i) {
  const f = document.createElement("figure");
  f.dataset.id = picture.id;
  f.classList.toggle("now", i === at);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "picture";
  button.setAttribute("aria-label", i === at ?
    `Picture ${i + 1} of ${set.length}, marked. Zoom.` : `Mark picture ${i + 1} of ${set.length}`);
  if (i === at) button.setAttribute("aria-current", "true");
  button.addEventListener("click", (event) => {
    leaveButton(event);
    if (i === at) zoom();
    else {
      at = i;
      seen();
      show();
    }
  });
  if (picture.url) {
    const img = document.createElement("img");
    img.src = picture.url;
    img.alt = `Picture ${i + 1} of ${set.length} for: ${picture.prompt}`;
    img.draggable = false;
    if (i === at && !picture.seen) {
      picture.seen = true;
      img.addEventListener("load", seen, { once: true });
    }
    button.append(img);
  } else {
    button.textContent = picture.problem || "The picture is on its way …";
  }
  const caption = document.createElement("figcaption");
  if (picture.said) {
    caption.className = picture.said;
    caption.textContent = names[picture.said];
  }
  f.append(button, caption);
  return f;
}

function showProgress() {
  const waiting = queue.waiting().length;
  $("progress").textContent = `${rater}: ${counts.judged} judged · ` +
    `${counts.complete} of ${counts.pictures} pictures complete`;
  const refused = queue.refused.at(-1);
  $("network").textContent = refused ? `An answer was refused: ${refused.why}` :
    waiting === 0 ? "All is kept." :
    `${waiting} ${waiting === 1 ? "answer waits" : "answers wait"}. ${queue.problem}`;
  if (waiting > 0 && queue.problem !== "" && queue.status === 401) enterAgain();
}

// act does what a key, a button or a swipe says. It reports whether there was something to do.
function act(what) {
  if ($("zoomed").open) {
    $("zoomed").close();
    if (what === "zoom") return;
  }
  switch (what) {
    case "undo": return undo();
    case "zoom": return zoom();
    case "reason":
      $("why").hidden = false;
      return setTimeout(() => $("reason").focus()); // the key itself is not part of it
    default: judge(what);
  }
}

// give puts an answer into the queue.
function give(answer) {
  try {
    queue.add({ id: newID(), reason: "", taken_ms: 0, ...answer });
  } catch (error) {
    $("problem").textContent = `This browser keeps nothing any more, so nothing was said: ${error}`;
    return false;
  }
  return true;
}

function judge(label) {
  const picture = set[at];
  if (!picture) return;
  if (!picture.url && label !== "skip") {
    $("heard").textContent = "The picture is not here yet.";
    return;
  }
  const before = picture.said;
  const given = give({
    picture: picture.id, label, reason: $("reason").value.trim(),
    taken_ms: Math.round(Math.max(0, performance.now() - since - away)),
  });
  if (!given) return;
  $("problem").textContent = "";
  $("reason").value = "";
  $("why").hidden = true;
  picture.said = label;
  judged.add(picture.id);
  if (!before) counts.judged++;
  history = history.filter((h) => h.id !== picture.id);
  history.push({ id: picture.id, prompt: picture.prompt, image: picture.image, label });
  const next = set.findIndex((p) => !p.said);
  if (next < 0) nextSet();
  else {
    at = next;
    seen();
    show();
  }
  say(names[label]);
}

// undo takes back the last judgement and shows its picture again.
function undo() {
  const last = history.pop();
  if (!last) {
    $("heard").textContent = "There is nothing to take back.";
    return;
  }
  if (!give({ picture: last.id, label: "" })) {
    history.push(last);
    return;
  }
  judged.delete(last.id);
  counts.judged = Math.max(0, counts.judged - 1);
  const here = set.findIndex((p) => p.id === last.id);
  if (here >= 0) {
    set[here].said = undefined;
    at = here;
  } else {
    ahead.unshift(...set.filter((p) => !p.said));
    for (const p of set) if (p.said) release(p);
    set = [fetchPicture({ id: last.id, prompt: last.prompt, image: last.image })];
    at = 0;
  }
  seen();
  show();
  say(`Taken back: ${names[last.label]}`);
}

function say(what) {
  $("heard").textContent = what + ". " + (set.length === 0 ? nothing() :
    `Picture ${at + 1} of ${set.length}: ${set[0].prompt}`);
}

function zoom() {
  const picture = set[at];
  if (!picture?.url) return;
  $("large").src = picture.url;
  $("large").alt = `Picture ${at + 1} of ${set.length} for: ${picture.prompt}`;
  $("zoomed").showModal();
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
$("reason").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();
  if (event.key === "Escape") $("reason").value = "";
  $("why").hidden = $("reason").value.trim() === "";
  $("reason").blur();
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
swipes($("stage"), () => $("stage").querySelector("figure.now"),
  (right) => act(right ? "good" : "bad"));
setInterval(() => { if (set.length === 0) fill(); }, 3000);
addEventListener("online", () => fill());

// The queue is the rater's: who that is the program says.
try {
  const answer = await ask("/next?n=0");
  rater = answer.rater;
  counts = answer;
  queue = new Queue(rater, "/answers", () => {
    showProgress();
    if (set.length === 0) fill();
  });
  await queue.settled(); // what an earlier page could not send, before more is asked for
  await fill(10);
} catch (error) {
  $("problem").textContent = error.message;
  if (error.status === 401) location.replace("/enter");
}
