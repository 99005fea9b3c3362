// Sorting, filtering and copying for the table of everything, which reads without them.
(() => {
  "use strict";
  const table = document.getElementById("everything");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headers = [...table.tHead.rows[0].cells];
  const titles = headers.map((header) => header.textContent);

  // The cell of a row in a column: a refusal spans several.
  const cell = (row, column) => {
    let at = 0;
    for (const candidate of row.cells) {
      at += candidate.colSpan;
      if (at > column) return candidate;
    }
    return null;
  };
  const texts = rows.map((row) => headers.map((_, column) => cell(row, column).textContent));
  const positions = new Map(rows.map((row, index) => [row, index]));

  const compare = (column, isNumber, sign) => (a, b) => {
    const [x, y] = [a, b].map((row) => texts[positions.get(row)][column]);
    if (!isNumber) return sign * x.localeCompare(y, "en", { numeric: true });
    const [p, q] = [x, y].map(Number.parseFloat);
    // What has no number stays at the end, whichever way it is sorted.
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q);
    return sign * (p - q);
  };

  headers.forEach((header, column) => {
    if (titles[column] === "command") return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = titles[column];
    button.addEventListener("click", () => {
      const descending = header.getAttribute("aria-sort") === "ascending";
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", descending ? "descending" : "ascending");
      rows.sort(compare(column, header.classList.contains("number"), descending ? -1 : 1));
      body.append(...rows);
    });
    header.replaceChildren(button);
  });

  const form = document.createElement("form");
  form.className = "filter";
  form.setAttribute("role", "search");
  form.setAttribute("aria-label", "Filter the table");
  form.addEventListener("submit", (event) => event.preventDefault());
  const labelled = (title, control) => {
    const label = document.createElement("label");
    label.append(title, control);
    form.append(label);
    return control;
  };
  const words = labelled("words, all of them", document.createElement("input"));
  words.type = "search";
  words.placeholder = "kh3 direct";
  const choices = ["set", "layout", "dtype", "isa", "threads", "implementation"].flatMap((title) => {
    const column = titles.indexOf(title);
    const values = [...new Set(texts.map((text) => text[column]))];
    if (values.length < 2) return [];
    const select = labelled(title, document.createElement("select"));
    select.add(new Option("all", ""));
    values.forEach((value) => select.add(new Option(value, value)));
    return [{ column, select }];
  });
  const count = document.createElement("output");
  form.append(count);

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter(({ select }) => select.value !== "");
    let shown = 0;
    rows.forEach((row) => {
      const text = texts[positions.get(row)];
      const line = text.slice(0, -1).join(" ").toLowerCase();
      row.hidden = !(chosen.every(({ column, select }) => text[column] === select.value) &&
        wanted.every((word) => line.includes(word)));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  form.addEventListener("input", filter);
  table.parentElement.before(form);
  filter();

  rows.forEach((row) => {
    const details = row.querySelector("details");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "copy";
    button.addEventListener("click", async () => {
      const code = details.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      } catch {
        // Without permission to write the clipboard: shown and selected, for the keyboard.
        details.open = true;
        getSelection().selectAllChildren(code);
      }
    });
    details.before(button);
    details.style.display = "inline-block";
  });
})();
