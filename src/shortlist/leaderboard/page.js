"use strict";
(() => {
  const records = JSON.parse(document.getElementById("records").textContent);
  const sections = [...document.querySelectorAll("main section")];

  // Sorting: empty cells stay last in both directions, equal ones keep the order they had.
  const compare = (a, b) =>
    typeof a === "string" && isNaN(a) ? a.localeCompare(b, "en") : Number(a) - Number(b);
  const sort = (table, column, ascending) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => [JSON.parse(row.dataset.values)[column], row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return ascending ? compare(a, b) : compare(b, a);
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const table of document.querySelectorAll("main table")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const descending = before === "none" ? "descending" in button.dataset : before === "ascending";
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sort(table, column, !descending);
      });
    });
  }

  // Filtering: a row stays if it contains every word.
  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const everything = count.textContent;
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    let all = 0;
    for (const section of sections) {
      let here = 0;
      for (const row of section.querySelectorAll("main tbody tr")) {
        all += 1;
        row.hidden = !words.every((word) => row.dataset.searched.includes(word));
        here += !row.hidden;
      }
      section.hidden = words.length > 0 && here === 0;
      shown += here;
    }
    count.textContent = words.length ? `${shown} of ${all} rows` : everything;
    document.getElementById("nothing").hidden = !words.length || shown > 0;
  };
  filter.addEventListener("input", apply);
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
  const section = (record, asked, open) => {
    const summary = make("summary", {}, make("b", {}, `seed ${record.seed}`));
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
    const stages = ["stage", "seconds", "peak MiB", "device", "key"];
    details.append(...grid("Stages", stages, record.stages));
    if (record.overrides.length) {
      const codes = record.overrides.map((override) => make("code", {}, override));
      details.append(make("h3", {}, "Overrides"), make("div", { class: "overrides" }, ...codes));
    }
    const facts = record.facts.flatMap(([name, fact]) => [make("dt", {}, name), make("dd", {}, fact)]);
    details.append(make("h3", {}, "Cell"), make("dl", {}, ...facts));
    const link = make("a", { href: encodeURI(record.path) }, record.path);
    details.append(make("p", { class: "file" }, "Record: ", link));
    return details;
  };
  const dialog = document.getElementById("details");
  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-cell]");
    if (!button) return;
    const row = button.closest("tr");
    const found = row.dataset.keys.split(" ").map((key) => records[key]);
    document.getElementById("details-title").textContent = row.dataset.label;
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
