'use strict';

// Draws the graph. Each module is laid out by itself: its parts are nodes, modules, and the values that enter and leave
// it. A part has a rank, the length of the longest path to it, and each rank is a row. Values that skip rows pass
// through parts without size. A folded module is a part without parts.

const GAP = { rows: 26, columns: 18 };
const PADDING = 12;
const TITLE = 24;
const LINE = 15;
const SVG = 'http://www.w3.org/2000/svg';
// With more nodes than this, inner modules are folded at first.
const SHOWN_NODES = 80;

const graph = JSON.parse(document.getElementById('graph').textContent);
const measure = document.createElement('canvas').getContext('2d');
const root = prepare({ label: graph.network, children: graph.children }, null);

// --- The tree of modules -------------------------------------------------------------------------------------------

// Adds the parent, the path, the range of nodes and the state of each module.
function prepare(module, parent) {
  module.parent = parent;
  module.isOpen = parent === null;
  module.nodes = new Set();
  module.children.forEach((child, i) => {
    child.parent = module;
    child.path = `${module.path ?? ''}/${i}`;
    if (child.children) {
      prepare(child, module);
      child.nodes.forEach((node) => module.nodes.add(node));
    } else {
      child.nodes = new Set([child.node]);
      module.nodes.add(child.node);
    }
  });
  return module;
}

function forEachModule(module, f) {
  f(module);
  module.children.filter((child) => child.children).forEach((child) => forEachModule(child, f));
}

function setAll(isOpen) {
  forEachModule(root, (module) => { module.isOpen = isOpen || module === root; });
}

// Unfolds level after level of modules, as long as the drawing stays small.
function unfoldSome() {
  let level = root.children.filter((child) => child.children);
  let shown = root.children.length;
  while (level.length > 0) {
    shown += level.reduce((sum, module) => sum + module.children.length - 1, 0);
    if (shown > SHOWN_NODES) { return; }
    level.forEach((module) => { module.isOpen = true; });
    level = level.flatMap((module) => module.children.filter((child) => child.children));
  }
}

// --- Layout --------------------------------------------------------------------------------------------------------

function textWidth(text, isBold) {
  measure.font = `${isBold ? '600 ' : ''}12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
  return measure.measureText(text).width;
}

function moduleTitle(module) {
  return module.isOpen ? `▾ ${module.label}` : `▸ ${module.label}`;
}

// Sets the width and the height of a part, and the positions of everything in it.
function layout(part) {
  if (part.lines) {
    part.width = Math.max(...part.lines.map((line, i) => textWidth(line, i === 0))) + 20;
    part.height = part.lines.length * LINE + 10;
    return;
  }
  if (!part.isOpen) {
    part.width = Math.max(textWidth(moduleTitle(part), true), textWidth(countText(part), false)) + 24;
    part.height = TITLE + LINE + 8;
    return;
  }
  part.children.forEach(layout);
  part.wires = wiresOf(part);
  const rows = rowsOf(part);
  orderRows(rows);
  placeColumns(rows);
  place(part, rows);
}

function countText(module) {
  const count = [...module.nodes].filter((node) => graph.nodes[node].operation).length;
  const refused = countRefused(module);
  return `${count} operation${count === 1 ? '' : 's'}${refused > 0 ? `, ${refused} not fused` : ''}`;
}

function countRefused(module) {
  return [...module.nodes].filter((node) => graph.nodes[node].refused).length;
}

// Returns the connections in a module: from the part that has a value to a part that reads it. A value from outside of
// the module comes from an entry, and a value that is read outside goes to an exit.
function wiresOf(module) {
  const partOf = new Map();
  module.children.forEach((child) => child.nodes.forEach((node) => partOf.set(node, child)));
  const entries = new Map();
  const exits = new Map();
  const port = (map, value) => {
    if (!map.has(value)) { map.set(value, { port: value, nodes: new Set(), width: 1, height: 0 }); }
    return map.get(value);
  };
  const wires = new Map();
  for (const [from, to] of graph.edges) {
    const source = partOf.get(from);
    const target = partOf.get(to);
    if (!source && !target || source === target) { continue; }
    const wire = { value: from, from: source ?? port(entries, from), to: target ?? port(exits, from) };
    const key = `${from}:${target ? target.path : 'exit'}`;
    wires.set(key, wire);
  }
  module.entries = [...entries.values()];
  module.exits = [...exits.values()];
  return [...wires.values()];
}

// Returns the rows of a module. Splits wires that skip rows.
function rowsOf(module) {
  const parts = [...module.entries, ...module.children, ...module.exits];
  // Entries have a row of their own.
  const first = module.entries.length > 0 ? 1 : 0;
  parts.forEach((part) => { part.rank = part.port === undefined ? first : 0; part.before = []; part.after = []; });
  // The parts are in the order of execution, so each wire leads to a later part.
  for (const part of parts) {
    for (const wire of module.wires.filter((wire) => wire.to === part)) {
      part.rank = Math.max(part.rank, wire.from.rank + 1);
    }
  }
  const last = Math.max(...parts.filter((part) => !module.exits.includes(part)).map((part) => part.rank));
  module.exits.forEach((part) => { part.rank = last + 1; });
  // A part that reads nothing moves to the part that reads it.
  for (const part of module.children) {
    const readers = module.wires.filter((wire) => wire.from === part).map((wire) => wire.to.rank);
    if (readers.length > 0 && !module.wires.some((wire) => wire.to === part)) {
      part.rank = Math.max(part.rank, Math.min(...readers) - 1);
    }
  }
  const rows = [];
  const add = (part) => { (rows[part.rank] ??= []).push(part); };
  parts.forEach(add);
  module.wires.forEach((wire) => splitWire(wire, add));
  return rows.map((row) => row ?? []).filter((row) => row.length > 0);
}

function splitWire(wire, add) {
  wire.stops = [];
  let before = wire.from;
  for (let rank = wire.from.rank + 1; rank < wire.to.rank; rank += 1) {
    const stop = { isStop: true, rank, width: 1, height: 0, before: [], after: [] };
    add(stop);
    wire.stops.push(stop);
    connect(before, stop, wire);
    before = stop;
  }
  connect(before, wire.to, wire);
}

function connect(from, to, wire) {
  from.after.push({ part: to, wire });
  to.before.push({ part: from, wire });
}

// Sorts each row by the mean position of the neighbors, down and up in turn.
function orderRows(rows) {
  rows.forEach((row) => row.forEach((part, i) => { part.order = i; }));
  for (let pass = 0; pass < 8; pass += 1) {
    const isDown = pass % 2 === 0;
    for (const row of isDown ? rows : [...rows].reverse()) {
      for (const part of row) {
        const neighbors = isDown ? part.before : part.after;
        const sum = neighbors.reduce((sum, { part }) => sum + part.order, 0);
        part.key = neighbors.length > 0 ? sum / neighbors.length : part.order;
      }
      row.sort((a, b) => a.key - b.key);
      row.forEach((part, i) => { part.order = i; });
    }
  }
}

// Sets the horizontal center of each part: as close as possible to the mean of its neighbors, without overlaps.
function placeColumns(rows) {
  rows.forEach((row) => {
    let x = 0;
    row.forEach((part) => { part.center = x + part.width / 2; x += part.width + GAP.columns; });
  });
  for (let pass = 0; pass < 41; pass += 1) {
    const isDown = pass % 2 === 0;
    for (const row of isDown ? rows : [...rows].reverse()) {
      const wished = row.map((part) => (isEnd(part, isDown) && pass > 20 ? part.center : wishedCenter(part, isDown)));
      separate(row, wished, row.map((part) => weight(part, isDown)));
    }
  }
}

// Returns how much a part should be at its wished center. Nodes and modules should be in a line. A wire that skips rows
// should be straight, but it goes around the parts in these rows, and its ends may have a curve.
function weight(part, isDown) {
  if (!part.isStop) { return 1; }
  return isEnd(part, isDown) ? 0.01 : 0.1;
}

// Returns whether a wire that skips rows begins or ends at a part.
function isEnd(part, isDown) {
  return part.isStop && (isDown ? part.before : part.after).some(({ part: neighbor }) => !neighbor.isStop);
}

// Returns the center at which the wires of a part are straight.
function wishedCenter(part, isDown) {
  const neighbors = isDown ? part.before : part.after;
  if (neighbors.length === 0) { return part.center; }
  let sum = 0;
  let weights = 0;
  for (const { part: neighbor, wire } of neighbors) {
    // Direct neighbors should be in a line, more than the ends of wires that skip rows.
    const share = neighbor.isStop && !part.isStop ? 0.02 : 1;
    sum += share * (neighbor.center + portOffset(neighbor, wire, !isDown) - portOffset(part, wire, isDown));
    weights += share;
  }
  return sum / weights;
}

// Returns the position, relative to the center of a part, at which a wire enters (`isInput`) or leaves it.
function portOffset(part, wire, isInput) {
  if (!part.isOpen) { return 0; }
  const port = (isInput ? part.entries : part.exits).find((port) => port.port === wire.value);
  return port ? port.x - part.width / 2 : 0;
}

// Sets the centers with the least squared distance to those that are wished for, so that the parts of a row keep their
// order and their gaps: neighbors that would overlap form a block, which moves as a whole.
function separate(row, wished, weights) {
  const blocks = [];
  row.forEach((part, i) => {
    let block = { parts: [part], offsets: [0], weight: weights[i], wish: wished[i], end: part.width / 2 };
    while (blocks.length > 0) {
      const before = blocks[blocks.length - 1];
      const distance = before.end + GAP.columns + block.parts[0].width / 2;
      if (before.wish + distance <= block.wish) { break; }
      blocks.pop();
      const total = before.weight + block.weight;
      block = {
        parts: [...before.parts, ...block.parts],
        offsets: [...before.offsets, ...block.offsets.map((offset) => offset + distance)],
        weight: total,
        wish: (before.wish * before.weight + (block.wish - distance) * block.weight) / total,
        end: block.end + distance,
      };
    }
    blocks.push(block);
  });
  for (const { parts, offsets, wish } of blocks) {
    parts.forEach((part, i) => { part.center = wish + offsets[i]; });
  }
}

// Sets the size of a module, and the positions of its parts relative to it.
function place(module, rows) {
  const parts = rows.flat();
  const left = Math.min(...parts.map((part) => part.center - part.width / 2));
  const right = Math.max(...parts.map((part) => part.center + part.width / 2));
  const title = module.parent ? textWidth(moduleTitle(module), true) + 24 : 0;
  module.width = Math.max(right - left + 2 * PADDING, title);
  const margin = (module.width - (right - left)) / 2;
  let y = module.parent ? TITLE : PADDING;
  for (const row of rows) {
    const height = Math.max(...row.map((part) => part.height));
    const isEntry = row.every((part) => module.entries.includes(part));
    for (const part of row) {
      part.x = part.center - part.width / 2 - left + margin;
      part.y = y + (height - part.height) / 2;
      part.rowTop = y;
      part.rowBottom = y + height;
    }
    if (module.parent && isEntry) {
      row.forEach((part) => { part.y = 0; part.rowTop = 0; part.rowBottom = 0; });
      y += PADDING / 2;
    } else {
      y += height + GAP.rows;
    }
  }
  const hasExits = module.exits.length > 0;
  module.height = hasExits ? y - GAP.rows : y - GAP.rows + PADDING;
}

// --- Drawing -------------------------------------------------------------------------------------------------------

function element(name, attributes, parent) {
  const created = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => created.setAttribute(key, value));
  parent.append(created);
  return created;
}

function text(content, x, y, className, parent) {
  const created = element('text', { x, y, class: className, 'text-anchor': 'middle' }, parent);
  created.textContent = content;
  return created;
}

function draw() {
  if (root.children.length === 0) { return; }
  layout(root);
  const width = Math.ceil(root.width);
  const height = Math.ceil(root.height);
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('width', width);
  svg.setAttribute('height', height);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `Graph of ${graph.network}`);
  drawParts(root, svg);
  document.getElementById('drawing').replaceChildren(svg);
}

function drawParts(module, group) {
  module.children.forEach((child) => drawPart(child, group));
  module.wires.forEach((wire) => drawWire(module, wire, group));
}

function drawPart(part, parent) {
  const group = element('g', { transform: `translate(${part.x} ${part.y})` }, parent);
  if (part.lines) { drawNode(part, group); } else { drawModule(part, group); }
}

function drawNode(part, group) {
  const node = graph.nodes[part.node];
  const classes = ['node'];
  if (!node.operation) { classes.push('outside'); }
  if (node.launch !== null) { classes.push('launch', ...(node.fused ? ['fused'] : [])); }
  if (node.refused) { classes.push('refused'); }
  group.setAttribute('class', classes.join(' '));
  group.dataset.node = part.node;
  if (node.launch !== null) {
    group.dataset.launch = node.launch;
    // Multiples of the golden angle, so that launches in succession have different hues.
    group.style.setProperty('--hue', (node.launch * 137.508 + 200) % 360);
  }
  element('title', {}, group).textContent = node.tooltip;
  element('rect', { width: part.width, height: part.height, rx: 5 }, group);
  part.lines.forEach((line, i) => {
    text(line, part.width / 2, 17 + i * LINE, i === 0 ? 'name' : 'small', group);
  });
  group.addEventListener('mouseenter', () => showDetails(node));
  group.addEventListener('mouseleave', () => showDetails(null));
}

function drawModule(module, group) {
  group.setAttribute('class', !module.isOpen && countRefused(module) > 0 ? 'module refused' : 'module');
  group.dataset.path = module.path;
  element('rect', { width: module.width, height: module.height, rx: 6 }, group);
  if (module.isOpen) { drawParts(module, group); }
  const title = element('g', { class: 'title', tabindex: 0, role: 'button' }, group);
  title.setAttribute('aria-expanded', module.isOpen);
  title.setAttribute('aria-label', module.label);
  element('rect', { width: module.width, height: module.isOpen ? TITLE - 4 : module.height, rx: 6 }, title);
  const label = text(moduleTitle(module), 10, 16, '', title);
  label.setAttribute('text-anchor', 'start');
  if (!module.isOpen) { text(countText(module), module.width / 2, 35, 'count', title); }
  const toggle = () => {
    module.isOpen = !module.isOpen;
    draw();
    document.querySelector(`[data-path="${module.path}"] > .title`).focus();
  };
  title.addEventListener('click', toggle);
  title.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); toggle(); }
  });
}

// Draws a wire from the bottom of a part to the top of another, straight through the rows that it skips.
function drawWire(module, wire, group) {
  const center = (part) => part.x + part.width / 2;
  const isExit = wire.to.port !== undefined;
  const end = isExit ? module.height : wire.to.y;
  const start = wire.from.y + wire.from.height;
  let path = `M${center(wire.from) + portOffset(wire.from, wire, false)} ${start}`;
  path += ` L${center(wire.from) + portOffset(wire.from, wire, false)} ${Math.max(start, wire.from.rowBottom)}`;
  let y = Math.max(start, wire.from.rowBottom);
  let x = center(wire.from) + portOffset(wire.from, wire, false);
  const curve = (toX, toY) => {
    const middle = (y + toY) / 2;
    path += ` C${x} ${middle} ${toX} ${middle} ${toX} ${toY}`;
    x = toX;
    y = toY;
  };
  for (const stop of wire.stops) {
    curve(center(stop), stop.rowTop);
    path += ` L${x} ${stop.rowBottom}`;
    y = stop.rowBottom;
  }
  const target = center(wire.to) + portOffset(wire.to, wire, true);
  curve(target, isExit ? end : wire.to.rowTop);
  if (y < end) { path += ` L${x} ${end}`; }
  element('path', { class: 'edge', d: path }, group);
  // The arrow is at the node, not at the modules around it.
  if (wire.to.lines || (wire.to.children && !wire.to.isOpen)) {
    element('path', { class: 'arrow', d: `M${target} ${end} l-3.5 -6 h7 z` }, group);
  }
}

// Shows a node below the drawing, and marks the operations of its launch.
function showDetails(node) {
  document.getElementById('details').textContent = node ? node.tooltip : '';
  document.querySelectorAll('.node').forEach((group) => {
    const isSame = node !== null && node.launch !== null && group.dataset.launch === String(node.launch);
    group.classList.toggle('same', isSame);
  });
}

// Returns the drawing as a file, with the style of the page.
function standaloneSvg() {
  const svg = document.querySelector('svg').cloneNode(true);
  const style = document.createElementNS(SVG, 'style');
  style.textContent = `${document.querySelector('style').textContent}svg { background: var(--background); }`;
  svg.prepend(style);
  return new XMLSerializer().serializeToString(svg);
}

function save() {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([standaloneSvg()], { type: 'image/svg+xml' }));
  link.download = `${graph.network}.svg`;
  link.click();
  URL.revokeObjectURL(link.href);
}

function totals() {
  const operations = graph.nodes.filter((node) => node.operation).length;
  const refused = graph.nodes.filter((node) => node.refused).length;
  return `${operations} operations in ${graph.launches} launches, ${refused} not fused`;
}

document.getElementById('totals').textContent = totals();
document.getElementById('fold').addEventListener('click', () => { setAll(false); draw(); });
document.getElementById('save').addEventListener('click', save);
document.getElementById('unfold').addEventListener('click', () => { setAll(true); draw(); });
unfoldSome();
draw();
