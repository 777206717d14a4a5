// What the pages on which raters work have in common.
import { ask, newID } from "/shared/queue.js";

export const $ = (id) => document.getElementById(id);

// fetchPicture returns the address of a picture, in the browser's memory, as { url }, or why it
// cannot be shown, as { problem }. Without a network it tries again, while wanted() says so.
export async function fetchPicture(path, wanted) {
  for (let delay = 500; wanted(); delay = Math.min(2 * delay, 10_000)) {
    let response;
    try {
      response = await fetch(path);
      if (response.ok) return { url: URL.createObjectURL(await response.blob()) };
    } catch { /* no network: again */ }
    if (response && response.status !== 429 && response.status !== 503)
      return { problem: "The picture cannot be shown: " +
        ((await response.json().catch(() => null))?.error ?? response.status) };
    await new Promise((done) => setTimeout(done, delay));
  }
  return {};
}

// A Watch says for how long a rater has looked, without the time in which the page was hidden.
export class Watch {
  constructor() {
    this.since = 0; // ms; 0: not begun
    this.away = 0;
    let hidden = 0;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) hidden = performance.now();
      else if (hidden > 0 && this.since > 0)
        this.away += performance.now() - Math.max(hidden, this.since);
    });
  }

  reset() { this.since = this.away = 0; }

  begin() {
    this.since = performance.now();
    this.away = 0;
  }

  ms() {
    return this.since === 0 ? 0 :
      Math.round(Math.max(0, performance.now() - this.since - this.away));
  }
}

// showQueue says whether answers wait, and why.
export function showQueue(queue) {
  const waiting = queue.waiting().length;
  const refused = queue.refused.at(-1);
  $("network").textContent = refused ? `An answer was refused: ${refused.why}` :
    waiting === 0 ? "All is kept." :
    `${waiting} ${waiting === 1 ? "answer waits" : "answers wait"}. ${queue.problem}`;
  if (waiting > 0 && queue.problem !== "" && queue.status === 401) enterAgain();
}

// give puts an answer into the queue, and reports whether the browser keeps it.
export function give(queue, answer) {
  try {
    queue.add({ id: newID(), taken_ms: 0, ...answer });
  } catch (error) {
    $("problem").textContent = `This browser keeps nothing any more, so nothing was said: ${error}`;
    return false;
  }
  return true;
}

// signedOut says that the program does not know the rater any more. A page that went on asking
// would use up what wrong tokens of this address may ask, which is the other raters' here too.
export let signedOut = false;

export function enterAgain() {
  signedOut = true;
  $("problem").replaceChildren(
    "You are not signed in here any more. What you have said waits in this browser. ",
    Object.assign(document.createElement("a"), { href: "/enter", textContent: "Sign in" }));
}

// leaveButton gives the keyboard back to the page after a click, so that the space bar does not
// press the same button again.
export function leaveButton(event) {
  if (event.detail > 0) document.activeElement?.blur();
}

// buttons has the page's buttons do what they say, those for leaving and for a closer look too.
export function buttons(act, queue) {
  for (const button of document.querySelectorAll("button[data-act]"))
    button.addEventListener("click", (event) => {
      leaveButton(event);
      act(button.dataset.act);
    });
  $("zoomed").addEventListener("click", (event) => {
    if (event.target === $("zoomed") || event.target === $("large")) $("zoomed").close();
  });
  $("leave").addEventListener("click", async () => {
    await queue().settled();
    try {
      location.replace((await ask("/leave", {})).to);
    } catch (error) {
      $("problem").textContent = error.message;
    }
  });
}

// fail says on the page why it could not begin.
export function fail(error) {
  $("problem").textContent = error.message;
  if (error.status === 401) location.replace("/enter");
}
