// JSON as a tree that is opened node by node, by mouse and keyboard. Nothing is built before it is opened, so that a large
// message costs little.

// More children than this are shown on demand.
const CHILDREN_MAX = 200;

// A number as it was written: 1.10, or more digits than JavaScript keeps.
class Written {
  constructor(source) {
    this.source = source;
  }
}

// The tree of a JSON text, opened at its root; null where it is too deep to be read.
export function treeOf(text) {
  try {
    return valueOf(JSON.parse(text, (name, value, context) =>
      typeof value === "number" && context?.source ? new Written(context.source) : value));
  } catch {
    return null;
  }
}

function valueOf(value) {
  return isBranch(value) ? childrenOf(value) : leafOf(value);
}

function isBranch(value) {
  return typeof value === "object" && value !== null && !(value instanceof Written) && Object.keys(value).length > 0;
}

function childrenOf(value) {
  const list = document.createElement("ul");
  appendChildren(list, Object.keys(value), value);
  return list;
}

function appendChildren(list, names, value) {
  for (const name of names.slice(0, CHILDREN_MAX)) {
    const item = document.createElement("li");
    item.append(isBranch(value[name]) ? branchOf(name, value[name]) : line(name, leafOf(value[name])));
    list.append(item);
  }
  const rest = names.slice(CHILDREN_MAX);
  if (rest.length === 0) return;
  const item = document.createElement("li");
  const more = document.createElement("button");
  more.type = "button";
  more.className = "quiet";
  more.textContent = `${rest.length} more`;
  more.addEventListener("click", () => {
    item.remove();
    appendChildren(list, rest, value);
  });
  item.append(more);
  list.append(item);
}

function branchOf(name, value) {
  const count = Object.keys(value).length;
  const branch = document.createElement("details");
  const summary = document.createElement("summary");
  summary.append(line(name, Array.isArray(value) ? `[${count}]` : `{${count}}`));
  branch.append(summary);
  branch.addEventListener("toggle", () => branch.append(childrenOf(value)), { once: true });
  return branch;
}

function line(name, content) {
  const fragment = document.createDocumentFragment();
  const label = document.createElement("span");
  label.className = "name-of";
  label.textContent = `${name}: `;
  fragment.append(label, content);
  return fragment;
}

function leafOf(value) {
  const leaf = document.createElement("span");
  if (typeof value === "string") leaf.className = "value-string";
  leaf.textContent = value instanceof Written ? value.source : JSON.stringify(value);
  return leaf;
}
