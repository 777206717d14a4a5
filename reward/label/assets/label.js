// The page on which raters judge pictures. Pictures are fetched ahead, and answers wait in a queue,
// so that neither a slow line nor none keeps a rater from going on.
import { Keys } from "/shared/keys.js";
import { Queue, ask } from "/shared/queue.js";
import {
  $, Watch, buttons, enterAgain, fail, fetchPicture, give, leaveButton, showQueue, signedOut,
} from "/shared/work.js";
import { swipes } from "/own/swipe.js";

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
const watch = new Watch(); // since the marked picture was seen

// The keys are near Prodigy's at first.
const keys = new Keys({
  first: {
    good: ["a", "1", "ArrowRight"], bad: ["x", "0", "ArrowLeft"], skip: [" ", "s"],
    undo: ["Backspace", "u"], zoom: ["z"], reason: ["r"],
  },
  titles: { ...names, undo: "Undo", zoom: "Zoom", reason: "Say why" },
  where: "kudos-keys", act,
});

// hold fetches a picture as soon as it is known, so that it is there when its turn comes.
function hold(picture) {
  fetchPicture(picture.image, () => !picture.gone).then((found) => {
    Object.assign(picture, found);
    if (picture.gone) release(picture);
    else if (set.includes(picture)) show();
  });
  return picture;
}

// fill asks for pictures when few are ahead.
async function fill(last = 0) {
  if (fetching || signedOut || ahead.length > wanted / 2) return;
  fetching = true;
  try {
    const n = wanted + set.length + queue.waiting().length;
    const answer = await ask(`/next?n=${Math.min(n, 100)}&last=${last}`);
    counts = answer;
    asked = true;
    const known = new Set([...set, ...ahead].map((p) => p.id));
    for (const p of answer.next)
      if (!known.has(p.id) && !judged.has(p.id)) ahead.push(hold(p));
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

// nextSet shows the pictures that come next: as many of one prompt as are shown together.
function nextSet() {
  for (const p of set) release(p);
  set = [];
  while (ahead.length > 0 && set.length < counts.together &&
      (set.length === 0 || ahead[0].prompt === set[0].prompt)) set.push(ahead.shift());
  at = 0;
  watch.begin();
  show();
  fill();
}

function release(picture) {
  picture.gone = true;
  if (picture.url) URL.revokeObjectURL(picture.url);
}

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
      watch.begin();
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
      img.addEventListener("load", () => watch.begin(), { once: true });
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
  $("progress").textContent = `${rater}: ${counts.judged} judged · ` +
    `${counts.complete} of ${counts.pictures} pictures complete`;
  showQueue(queue);
}

// act does what a key, a button or a swipe says.
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

function judge(label) {
  const picture = set[at];
  if (!picture) return;
  if (!picture.url && label !== "skip") {
    $("heard").textContent = "The picture is not here yet.";
    return;
  }
  const before = picture.said;
  const given = give(queue, {
    picture: picture.id, label, reason: $("reason").value.trim(), taken_ms: watch.ms(),
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
    watch.begin();
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
  if (!give(queue, { picture: last.id, label: "" })) {
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
    set = [hold({ id: last.id, prompt: last.prompt, image: last.image })];
    at = 0;
  }
  watch.begin();
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

buttons(act, () => queue);
$("reason").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" && event.key !== "Escape") return;
  event.preventDefault();
  if (event.key === "Escape") $("reason").value = "";
  $("why").hidden = $("reason").value.trim() === "";
  $("reason").blur();
});
$("again").addEventListener("click", () => fill());
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
  fail(error);
}
