// Elements, and numbers as text.

/** An element with properties, and children: elements or texts. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/** A number in at most three digits. */
export function short(x) {
  if (x === 0 || !Number.isFinite(x)) return String(x);
  const size = Math.abs(x);
  if (size < 1e-3 || size >= 1e5) return x.toExponential(1).replace("+", "").replaceAll("-", "−");
  return String(Number(x.toPrecision(3))).replace("-", "−");
}
