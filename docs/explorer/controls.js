// The controls of a state: one labelled field for each of its values.
import { element, short } from "./dom.js";

// A key moves a slider by one step.
const cubic = (top) => ({
  least: -1000, most: 1000, step: 10,
  value: (place) => Number((top * (place / 1000) ** 3).toPrecision(3)),
  place: (value) => 1000 * Math.cbrt(value / top),
});
const logarithmic = (least, most) => ({
  least: 0, most: 1000, step: 5,
  value: (place) => Number((least * (most / least) ** (place / 1000)).toPrecision(3)),
  place: (value) => (1000 * Math.log(value / least)) / Math.log(most / least),
});
const whole = (least, most) => ({ least, most, step: 1, value: (place) => Number(place), place: (value) => value });

const isBalanced = (state) => state.width === "balanced";
const isDrawn = (state) => isBalanced(state) && state.start !== "reversed";

/** Fields by groups. `when` says for which states a field is shown. */
export const FIELDS = [
  { group: "Task", name: "task", label: "Task", options: { hierarchy: "Semantic hierarchy", random: "Random", matrix: "Own matrix" } },
  { group: "Task", name: "levels", label: "Levels", range: whole(1, 3), when: (s) => s.task === "hierarchy" },
  { group: "Task", name: "inputs", label: "Inputs", range: whole(1, 8), when: (s) => s.task === "random" },
  { group: "Task", name: "outputs", label: "Outputs", range: whole(1, 8), when: (s) => s.task === "random" },
  { group: "Task", name: "taskSeed", label: "Seed of the task", range: whole(1, 99), when: (s) => s.task === "random" },
  { group: "Task", name: "matrix", label: "Correlation of outputs (rows) and inputs", matrix: true, when: (s) => s.task === "matrix" },
  { group: "Network", name: "width", label: "Width", options: { balanced: "λ-balanced", wide: "Wide limit" } },
  { group: "Network", name: "hidden", label: "Hidden units", range: whole(1, 8), when: isBalanced },
  { group: "Network", name: "start", label: "Start", options: { random: "Random", aligned: "Aligned with the task", reversed: "Reversal: knows the negative" } },
  { group: "Network", name: "lmda", label: "Balance λ", range: cubic(20), when: isBalanced },
  { group: "Network", name: "scale", label: "Scale", range: logarithmic(0.001, 2), when: isDrawn },
  { group: "Network", name: "seed", label: "Seed of the start", range: whole(1, 99), when: (s) => isDrawn(s) && s.start === "random" },
  { group: "Network", name: "inputScale", label: "Input scale", range: logarithmic(0.001, 20), when: (s) => !isBalanced(s) },
  { group: "Network", name: "outputScale", label: "Output scale", range: logarithmic(0.001, 20), when: (s) => !isBalanced(s) },
  { group: "Learning", name: "weightDecay", label: "Weight decay", range: { ...cubic(1), least: 0 } },
  { group: "Learning", name: "duration", label: "Duration", range: logarithmic(0.1, 1000) },
  { group: "Learning", name: "early", label: "Finer axis at early times", toggle: true },
];

/** The fields in `root`. `onChange(name, value, isDone)` hears of every change, `isDone` once it is released.
 *
 * `show(state)` sets all fields. `names` are the fields that are made, all by default, and `prefix` begins their ids.
 */
export function createControls(root, { onChange, parse, names, prefix = "field" }) {
  const groups = {};
  const fields = FIELDS.filter(({ name }) => !names || names.includes(name)).map((field) => {
    const made = madeFields(field, `${prefix}-${field.name}`, onChange, parse);
    groups[field.group] ??= root.appendChild(element("fieldset", {}, element("legend", {}, field.group)));
    groups[field.group].append(made.row);
    return { ...field, ...made };
  });
  return {
    show(state) {
      for (const { name, row, set, when = () => true } of fields) {
        row.hidden = !when(state);
        set(state[name], state);
      }
    },
  };
}

function madeFields({ name, label, options, range, matrix, toggle }, id, onChange, parse) {
  const text = element("label", { for: id }, label);
  if (options) {
    const choices = Object.entries(options).map(([value, title]) => element("option", { value }, title));
    const input = element("select", { id }, ...choices);
    input.addEventListener("change", () => onChange(name, input.value, true));
    const set = (value, state) => {
      input.value = value;
      // A wide network starts at zero, so that it is aligned with every task.
      choices.forEach((choice) => (choice.disabled = choice.value === "aligned" && state.width === "wide"));
    };
    return { row: element("div", { className: "field" }, text, input), set };
  }
  if (toggle) {
    const input = element("input", { id, type: "checkbox" });
    input.addEventListener("change", () => onChange(name, input.checked, true));
    return { row: element("div", { className: "field toggle" }, input, text), set: (value) => (input.checked = value) };
  }
  return matrix ? matrixField(id, name, text, onChange, parse) : rangeField(id, name, text, range, onChange);
}

function rangeField(id, name, text, range, onChange) {
  const input = element("input", { id, type: "range", min: range.least, max: range.most, step: range.step });
  const output = element("output", { for: id, "aria-live": "off" });
  const change = (isDone) => () => onChange(name, range.value(Number(input.value)), isDone);
  input.addEventListener("input", change(false));
  input.addEventListener("change", change(true));
  const set = (value) => {
    output.textContent = short(value);
    input.setAttribute("aria-valuetext", short(value));
    // The slider's place stays where it is while it means this value.
    if (range.value(Number(input.value)) !== value) input.value = String(range.place(value));
  };
  return { row: element("div", { className: "field" }, text, output, input), set };
}

function matrixField(id, name, text, onChange, parse) {
  const input = element("textarea", { id, rows: 4, spellcheck: false, "aria-describedby": `${id}-fault` });
  const fault = element("p", { id: `${id}-fault`, className: "fault", role: "alert" });
  input.addEventListener("input", () => {
    const { matrix, error } = parse(input.value);
    fault.textContent = error ?? "";
    input.setAttribute("aria-invalid", String(Boolean(error)));
    if (!error) onChange(name, matrix, true);
  });
  const set = (value) => {
    // The text stays as it was typed while it means this matrix.
    if (JSON.stringify(parse(input.value).matrix) === JSON.stringify(value)) return;
    if (document.activeElement !== input) input.value = value.map((row) => row.join(" ")).join("\n");
  };
  return { row: element("div", { className: "field" }, text, input, fault), set };
}
