"use strict";
(() => {
  // Ten thousand records are some megabytes: they are parsed when the first cell is opened.
  let parsed = null;
  const records = () => (parsed ??= JSON.parse(document.getElementById("records").textContent));
  const sections = [...document.querySelectorAll("main section")];

  // Sorting: empty cells stay last in both directions, equal ones keep the order they had.
  const compare = (a, b) =>
    isNaN(a) ? a.localeCompare(b, "en") : Number(a) - Number(b);
  const sort = (table, column, ascending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [row.cells[column]?.dataset.value || undefined, row]);
    rows.sort(([a], [b]) => {
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return ascending ? compare(a, b) : compare(b, a);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("main section > .scroll > table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const descending = before === "none" ? "descending" in button.dataset : before === "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, !descending);
        apply();
      });
    });
  }

  // Filtering: a row stays if it contains every word. Of long tables the first rows are shown.
  const [filter, task, model] = ["filter", "task", "model"].map((id) => document.getElementById(id));
  const count = document.getElementById("count");
  const everything = count.textContent;
  const page = Number(document.querySelector("main").dataset.page);
  const limits = new Map(sections.map((section) => [section, page]));
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = words.length > 0 || task.value !== "" || model.value !== "";
    let shown = 0;
    let all = 0;
    for (const section of sections) {
      let here = 0;
      const rows = section.querySelector("tbody")?.rows ?? [];
      const fits = !task.value || section.dataset.task === task.value;
      for (const row of rows) {
        all += 1;
        const kept =
          fits &&
          (!model.value || row.dataset.model === model.value) &&
          words.every((word) => row.dataset.searched.includes(word));
        here += kept;
        row.hidden = !kept || here > limits.get(section);
      }
      section.hidden = asked && here === 0;
      shown += here;
      const more = section.querySelector(".more");
      if (more) {
        more.hidden = here <= limits.get(section);
        more.textContent = `Show all ${here} rows (${limits.get(section)} are shown)`;
      }
    }
    count.textContent = asked ? `${shown} of ${all} rows` : everything;
    document.getElementById("nothing").hidden = !asked || shown > 0;
  };
  for (const section of sections) {
    section.querySelector(".more")?.addEventListener("click", () => {
      limits.set(section, Infinity);
      apply();
    });
  }
  filter.addEventListener("input", apply);
  task.addEventListener("change", apply);
  model.addEventListener("change", apply);
  apply(); // a browser may restore what was typed before a reload

  // Details: text goes in as text, never as markup.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const grid = (title, heads, rows, asked) => {
    if (!rows.length) return [];
    const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
    const lines = rows.map((cells) => {
      const row = line("td", cells);
      if (asked && cells[0] === asked) row.className = "asked";
      return row;
    });
    const table = make("table", {}, make("thead", {}, line("th", heads)), make("tbody", {}, ...lines));
    return [make("h3", {}, title), make("div", { class: "scroll" }, table)];
  };
  const largestFirst = (values) =>
    Object.entries(values).sort(([a, n], [b, m]) => m - n || a.localeCompare(b, "en"));
  const listed = (values) =>
    largestFirst(values).map(([name, value]) => `${name} ${value.toLocaleString("en")}`).join(" · ");
  const section = (record, asked, open) => {
    const summary = make("summary", {}, make("b", {}, `${record.task}, seed ${record.seed}`));
    const value = record.metrics.find((metric) => metric[0] === asked);
    summary.append(make("span", {}, value ? `${asked} ${value[1]}` : record.status));
    const details = make("details", open ? { open: "" } : {}, summary);
    if (record.reason) {
      details.append(make("p", { class: "reason" }, `${record.status}: ${record.reason}`));
    }
    for (const warning of record.warnings) {
      details.append(make("p", { class: "reason warning" }, `⚠ ${warning}`));
    }
    const metrics = ["metric", "value", "stderr", "n", "split", "protocol"];
    details.append(...grid("Metrics", metrics, record.metrics, asked));
    const stages = ["stage", "role", "seconds", "peak MiB", "device", "key"];
    details.append(...grid("Stages", stages, record.stages));
    if (record.overrides.length) {
      const codes = record.overrides.map((override) => make("code", {}, override));
      details.append(make("h3", {}, "Overrides"), make("div", { class: "overrides" }, ...codes));
    }
    const domains = largestFirst(record.domains);
    if (domains.length) {
      const documents = domains.reduce((sum, [, count]) => sum + count, 0) || 1;
      const bars = domains.flatMap(([name, count]) => {
        const bar = make("i", {});
        bar.style.width = `${(100 * count) / documents}%`;
        return [make("dt", {}, name || "no domain"), make("dd", {}, bar, count.toLocaleString("en"))];
      });
      details.append(make("h3", {}, "Selection, documents by domain"));
      details.append(make("dl", { class: "bars" }, ...bars));
    }
    const pairs = (values) =>
      Object.entries(values)
        .filter(([, value]) => value !== "")
        .flatMap(([name, value]) => [make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, `${value}`)]);
    const fit = pairs(record.fit);
    if (fit.length) details.append(make("h3", {}, "Fit and certificate"), make("dl", {}, ...fit));
    const { task, pool, selector, featurizer, model, started } = record;
    const budget = `${record.budget.toLocaleString("en")} ${record.budget_unit}`;
    const [selected, counts, code] = [record.selected, record.counts, record.code].map(listed);
    const cell = { task, pool, selector, featurizer, model, budget, selected, counts, started, code };
    details.append(make("h3", {}, "Cell"), make("dl", {}, ...pairs(cell)));
    const link = make("a", { href: encodeURI(record.path) }, record.path);
    details.append(make("p", { class: "file" }, "Record: ", link));
    if (record.report) {
      const report = make("a", { href: encodeURI(record.report) }, record.report);
      details.append(make("p", { class: "file" }, "Selection report: ", report));
    }
    return details;
  };
  const dialog = document.getElementById("details");
  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-cell]");
    if (!button) return;
    const row = button.closest("tr");
    const keys = (button.dataset.keys ?? row.dataset.keys).split(" ");
    const found = keys.map((key) => records()[key]);
    document.getElementById("details-title").textContent = row.dataset.label;
    const sentence = button.dataset.sentence;
    const shown = document.getElementById("details-sentence");
    shown.textContent = sentence ? `${button.dataset.cell.replaceAll("_", " ")}: ${sentence}.` : "";
    const parts = found.map((record, index) => section(record, button.dataset.cell, index === 0));
    document.getElementById("details-body").replaceChildren(...parts);
    dialog.showModal();
    dialog.scrollTop = 0;
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // a click beside it
  });
  for (const scroll of document.querySelectorAll("main .scroll")) {
    scroll.addEventListener("scroll", () => scroll.classList.toggle("moved", scroll.scrollLeft > 0));
  }
})();
