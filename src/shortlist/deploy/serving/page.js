"use strict";
const about = JSON.parse(document.getElementById("about").textContent);
const element = (id) => document.getElementById(id);
let shown = null;

async function ask(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.error);
  return content;
}

function bar(name, value) {
  const term = document.createElement("dt");
  term.textContent = name;
  const description = document.createElement("dd");
  const line = document.createElement("i");
  line.style.width = `${60 * value}%`;
  description.append(line, `${(100 * value).toFixed(1)} %`);
  return [term, description];
}

function tags(text, found) {
  return text.split(" ").map((word, place) => (found[place] === "O" ? word : `${word} [${found[place]}]`)).join(" ");
}

function show(prediction, text, milliseconds) {
  shown = prediction;
  const label = prediction.label;
  element("label").textContent =
    about.kind === "tokens" ? tags(text, label)
    : about.kind === "multi_label" ? label.join(", ") || "none"
    : about.kind === "regression" ? String(label)
    : label;
  const cut = prediction.truncated ? "; the text is longer than the model reads and was cut" : "";
  element("note").textContent = `${milliseconds.toFixed(0)} ms${cut}`;
  const values = Object.entries(prediction.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
  element("bars").replaceChildren(...values.slice(0, 20).flatMap(([name, value]) => bar(name, value)));
  element("correction").hidden = !about.corrects;
  element("right").value = label;
  element("corrected").textContent = "";
  element("answer").hidden = false;
}

async function attempt(button, work) {
  element("error").textContent = "";
  button.disabled = true;
  try {
    await work();
  } catch (error) {
    element("error").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

element("form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(element("predict"), async () => {
    const text = element("text").value;
    const body = { texts: [text] };
    if (about.two_texts) body.texts_b = [element("text-b").value];
    const start = performance.now();
    const content = await ask("predict", body);
    show(content.predictions[0], text, performance.now() - start);
  });
});

element("correct").addEventListener("click", () =>
  attempt(element("correct"), async () => {
    await ask("correct", { id: shown.id, label: element("right").value });
    element("corrected").textContent = "kept";
  }),
);

for (const name of about.labels) element("right").add(new Option(name, name));
