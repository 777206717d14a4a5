// Who has a token behind the # of the address enters with it at once. Others type it, or a name.
const form = document.getElementById("enter");
const problem = document.getElementById("problem");

async function enter(asked) {
  problem.textContent = "";
  let answer, status;
  try {
    const response = await fetch("/enter", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(asked),
    });
    status = response.ok;
    answer = await response.json();
  } catch {
    problem.textContent = "The program does not answer. Is it still running?";
    return;
  }
  if (status) location.replace(answer.to);
  else problem.textContent = answer.error;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const field = form.querySelector("input");
  enter({ [field.name]: field.value.trim() });
});

function read() {
  const token = location.hash.slice(1);
  if (!token) return;
  history.replaceState(null, "", location.pathname); // no history keeps it
  enter({ token });
}
addEventListener("hashchange", read); // a link that is opened while this page is
read();
form.querySelector("input").focus();
