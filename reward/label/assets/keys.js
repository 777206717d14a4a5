// Keys are what the keyboard does on the page. They are near Prodigy's at first, and each rater can
// change them.
const first = {
  good: ["a", "1", "ArrowRight"],
  bad: ["x", "0", "ArrowLeft"],
  skip: [" ", "s"],
  undo: ["Backspace", "u"],
  zoom: ["z"],
  reason: ["r"],
};
const titles = {
  good: "Good", bad: "Bad", skip: "Can’t say", undo: "Undo", zoom: "Zoom", reason: "Say why",
};
const words = { " ": "space", ArrowRight: "→", ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓" };
const where = "kudos-keys";

const word = (key) => words[key] ?? key.toLowerCase();
const norm = (key) => (key.length === 1 ? key.toLowerCase() : key);

export class Keys {
  // act is called with what a key does.
  constructor(act) {
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
      this.of = structuredClone(first);
      this.keep("The keys are as at first.");
    });
    this.show();
  }

  read() {
    try {
      const kept = JSON.parse(localStorage.getItem(where));
      if (kept && Object.keys(first).every((what) => Array.isArray(kept[what]))) return kept;
    } catch { /* what is kept is nothing of ours */ }
    return structuredClone(first);
  }

  keep(heard) {
    try {
      localStorage.setItem(where, JSON.stringify(this.of));
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
      document.getElementById("key-heard").textContent =
        `${word(key)} is the only key for ${titles[other]}. Choose another, or change that first.`;
      return;
    }
    if (other) this.of[other] = this.of[other].filter((k) => k !== key);
    this.of[what] = [key];
    this.keep(`${word(key)} is ${titles[what]} now.`);
  }

  show() {
    for (const button of document.querySelectorAll("button[data-act]")) {
      button.querySelector("kbd").textContent = word(this.of[button.dataset.act][0]);
      button.setAttribute("aria-keyshortcuts",
        this.of[button.dataset.act].map((k) => (k === " " ? "Space" : k)).join(" "));
    }
    document.getElementById("key-list").replaceChildren(...Object.keys(first).flatMap((what) => {
      const title = document.createElement("span");
      title.append(titles[what] + " ");
      for (const key of this.of[what]) {
        const kbd = document.createElement("kbd");
        kbd.textContent = word(key);
        title.append(kbd, " ");
      }
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = this.changing === what ? "Press a key …" : "Change";
      button.setAttribute("aria-label", `Change the key for ${titles[what]}`);
      button.addEventListener("click", () => {
        this.changing = what;
        this.show();
        document.getElementById("key-heard").textContent = `Press the key for ${titles[what]}.`;
        document.activeElement?.blur();
      });
      return [title, button];
    }));
  }
}
