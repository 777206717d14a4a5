// Keys are what the keyboard does on a page. Each rater can change them. The page has buttons with
// data-act, each with a <kbd>, and a dialog #keys with #key-list, #key-heard and #default-keys,
// which #open-keys opens.
const words = { " ": "space", ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓" };

const word = (key) => words[key] ?? key.toLowerCase();
const norm = (key) => (key.length === 1 ? key.toLowerCase() : key);

export class Keys {
  // first are the keys of each act at first, titles are the acts' names, and where is the name under
  // which the browser keeps what was changed. act is called with what a key does.
  constructor({ first, titles, where, act }) {
    this.first = first;
    this.titles = titles;
    this.where = where;
    this.of = this.read();
    this.changing = "";
    this.dialog = document.getElementById("keys");
    document.addEventListener("keydown", (event) => this.press(event, act));
    document.getElementById("open-keys").addEventListener("click", () => {
      this.changing = "";
      this.show();
      this.dialog.showModal();
    });
    document.getElementById("default-keys").addEventListener("click", () => {
      this.of = structuredClone(this.first);
      this.keep("The keys are as at first.");
    });
    this.show();
  }

  read() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.where));
      if (kept && Object.keys(this.first).every((what) => Array.isArray(kept[what]))) return kept;
    } catch { /* what is kept is nothing of ours */ }
    return structuredClone(this.first);
  }

  keep(heard) {
    try {
      localStorage.setItem(this.where, JSON.stringify(this.of));
    } catch { /* they hold while the page is open */ }
    this.changing = "";
    this.show();
    document.getElementById("key-heard").textContent = heard;
  }

  press(event, act) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const key = norm(event.key);
    if (this.dialog.open) {
      if (this.changing && !["Escape", "Tab", "Shift"].includes(key)) {
        event.preventDefault();
        this.change(this.changing, key);
      }
      return;
    }
    const target = event.target;
    if (target instanceof HTMLInputElement) return;
    // A button that has the keyboard's focus is pressed by these.
    if (target instanceof HTMLButtonElement && (key === " " || key === "Enter")) return;
    const what = Object.keys(this.of).find((w) => this.of[w].includes(key));
    if (!what) return;
    event.preventDefault();
    if (!event.repeat) act(what); // a key that is held down is one answer
  }

  // change gives a key to what it is to do, and takes it from what it did.
  change(what, key) {
    const other = Object.keys(this.of).find((w) => w !== what && this.of[w].includes(key));
    if (other && this.of[other].length === 1) {
      document.getElementById("key-heard").textContent = `${word(key)} is the only key for ` +
        `${this.titles[other]}. Choose another, or change that first.`;
      return;
    }
    if (other) this.of[other] = this.of[other].filter((k) => k !== key);
    this.of[what] = [key];
    this.keep(`${word(key)} is ${this.titles[what]} now.`);
  }

  show() {
    for (const button of document.querySelectorAll("button[data-act]")) {
      const keys = this.of[button.dataset.act];
      button.querySelector("kbd").textContent = word(keys[0]);
      button.setAttribute("aria-keyshortcuts",
        keys.map((k) => (k === " " ? "Space" : k)).join(" "));
    }
    const list = Object.keys(this.first).flatMap((what) => {
      const title = document.createElement("span");
      title.append(this.titles[what] + " ");
      for (const key of this.of[what]) {
        const kbd = document.createElement("kbd");
        kbd.textContent = word(key);
        title.append(kbd, " ");
      }
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = this.changing === what ? "Press a key …" : "Change";
      button.setAttribute("aria-label", `Change the key for ${this.titles[what]}`);
      button.addEventListener("click", () => {
        this.changing = what;
        this.show();
        document.getElementById("key-heard").textContent =
          `Press the key for ${this.titles[what]}.`;
        document.activeElement?.blur();
      });
      return [title, button];
    });
    document.getElementById("key-list").replaceChildren(...list);
  }
}
