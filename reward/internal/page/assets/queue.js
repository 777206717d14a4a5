// A Queue keeps answers in the browser until the server has said that each is on its disk. They are
// sent in the order in which they were given. Without a network they wait, also while the page is
// closed. An answer has an id, so that one that is sent twice is one.

export function newID() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

// ask is fetch for JSON. Its errors have the status of the answer, 0 without one.
export async function ask(path, sent) {
  let response;
  try {
    response = await fetch(path, sent === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(sent),
    });
  } catch {
    throw Object.assign(new Error("The program cannot be reached."), { status: 0 });
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    answer = { error: "The answer of the program cannot be read." };
  }
  if (!response.ok) throw Object.assign(new Error(answer.error), { status: response.status });
  return answer;
}

// sentence is a text of the program's with a capital letter and a full stop.
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}

const longest = 30_000; // ms between two tries

export class Queue {
  // owner is whose answers they are: another's in this browser wait for that one.
  // changed is called when something has changed.
  constructor(owner, path, changed) {
    this.key = "kudos-answers:" + location.host + ":" + owner;
    this.path = path;
    this.changed = changed;
    this.sending = false;
    this.problem = "";  // why answers wait
    this.refused = [];  // what the server will never take, with why
    this.delay = 500;
    this.timer = 0;
    addEventListener("online", () => this.retry());
    addEventListener("storage", (event) => { if (event.key === this.key) this.changed(); });
  }

  // waiting are the answers that the server has not taken yet.
  waiting() {
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? [];
    } catch {
      return [];
    }
  }

  keep(answers) { localStorage.setItem(this.key, JSON.stringify(answers)); }

  // add keeps an answer, an object with an id, and sends it. It throws if the browser cannot keep
  // it: then the answer was not given.
  add(answer) {
    this.keep([...this.waiting(), { ...answer, when: Date.now() }]);
    this.changed();
    this.send();
  }

  retry() {
    clearTimeout(this.timer);
    this.delay = 500;
    this.send();
  }

  async send() {
    if (this.sending) return;
    this.sending = true;
    clearTimeout(this.timer);
    try {
      for (let batch; (batch = this.waiting().slice(0, 50)).length > 0;) {
        const now = Date.now();
        const { done, refused } = await ask(this.path, {
          answers: batch.map(({ when, ...rest }) => ({ ...rest, ago_ms: Math.max(0, now - when) })),
        });
        const gone = new Set([...done, ...Object.keys(refused)]);
        for (const answer of batch)
          if (answer.id in refused) this.refused.push({ ...answer, why: refused[answer.id] });
        if (!batch.some((answer) => gone.has(answer.id))) throw new Error("Nothing was taken.");
        this.keep(this.waiting().filter((answer) => !gone.has(answer.id)));
        this.problem = "";
        this.delay = 500;
        this.changed();
      }
    } catch (error) {
      this.problem = sentence(error.message);
      this.status = error.status;
      this.timer = setTimeout(() => this.send(), this.delay);
      this.delay = Math.min(2 * this.delay, longest);
      this.changed();
    } finally {
      this.sending = false;
    }
  }

  // settled resolves when nothing waits, or when a try has failed.
  async settled() {
    await this.send();
    while (this.sending) await new Promise((done) => setTimeout(done, 20));
    return this.waiting().length === 0;
  }
}
