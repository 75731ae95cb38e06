// Lines over time and matrices as colours, on canvases.
import { short } from "./dom.js";

const LINES = ["--blue", "--orange", "--green", "--pink", "--sky", "--red", "--text", "--grey"];

/** The colours of the page's theme, by their names in the style sheet. */
export function themeOf(canvas) {
  const style = getComputedStyle(canvas);
  const read = (name) => style.getPropertyValue(name).trim();
  const names = ["--text", "--soft", "--rule", "--low", "--middle", "--high"];
  return { ...Object.fromEntries(names.map((name) => [name, read(name)])), lines: LINES.map(read) };
}

/** A canvas's context in CSS pixels, cleared, and its sizes. */
function cleared(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Lines over the axis of time.
 *
 * Every line has `values`, a place in the list of colours and a dash pattern. `levels` are dotted lines at given
 * heights. `cursor` is the shown part of the axis. `ticks` are its texts, by parts.
 */
export function drawLines(canvas, theme, { progress, lines, levels = [], least, most, cursor, ticks }) {
  const { context, width, height } = cleared(canvas);
  const [left, right, top, bottom] = [44, 10, 8, 22];
  const x = (part) => left + part * (width - left - right);
  const y = (value) => height - bottom - ((value - least) / (most - least || 1)) * (height - top - bottom);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = theme["--soft"];
  context.strokeStyle = theme["--rule"];
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const value of [least, (least + most) / 2, most]) {
    const isZero = Math.abs(value) < 1e-9 * (most - least);
    context.fillText(isZero ? "0" : short(Number(value.toPrecision(2))), left - 6, y(value));
    stroke(context, [[left, y(value)], [width - right, y(value)]]);
  }
  context.textBaseline = "alphabetic";
  ticks.forEach(({ part, text }, i) => {
    context.textAlign = i === 0 ? "left" : i === ticks.length - 1 ? "right" : "center";
    context.fillText(text, x(part), height - 6);
  });
  context.save();
  context.beginPath();
  context.rect(left, top - 2, width - left - right, height - top - bottom + 4);
  context.clip();
  for (const { value, colour } of levels) {
    context.strokeStyle = theme.lines[colour % LINES.length];
    context.setLineDash([2, 4]);
    stroke(context, [[left, y(value)], [width - right, y(value)]]);
  }
  context.lineWidth = 2;
  for (const { values, colour, dash } of lines) {
    context.strokeStyle = theme.lines[colour % LINES.length];
    context.setLineDash(dash ?? []);
    stroke(context, values.map((value, i) => [x(progress[i]), y(value)]));
  }
  context.restore();
  context.strokeStyle = theme["--text"];
  context.lineWidth = 1;
  stroke(context, [[x(cursor), top], [x(cursor), height - bottom]]);
}

function stroke(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}

/** A matrix as colours: one colour below zero, another above, the middle at zero. */
export function drawMatrix(canvas, theme, matrix, most) {
  const { context, width, height } = cleared(canvas);
  const [rows, columns] = [matrix.length, matrix[0].length];
  const image = new ImageData(columns, rows);
  const [low, middle, high] = ["--low", "--middle", "--high"].map((name) => rgb(theme[name]));
  for (let i = 0, place = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      const part = Math.max(-1, Math.min(1, matrix[i][j] / (most || 1)));
      const end = part < 0 ? low : high;
      for (let k = 0; k < 3; k++) image.data[place++] = middle[k] + (end[k] - middle[k]) * Math.abs(part);
      image.data[place++] = 255;
    }
  }
  const small = new OffscreenCanvas(columns, rows);
  small.getContext("2d").putImageData(image, 0, 0);
  const cell = Math.min(width / columns, height / rows);
  const [w, h] = [cell * columns, cell * rows];
  const [x, y] = [(width - w) / 2, (height - h) / 2];
  context.imageSmoothingEnabled = false;
  context.drawImage(small, x, y, w, h);
  context.strokeStyle = theme["--rule"];
  context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
