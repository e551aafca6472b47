// Creates elements and formats numbers and times.

export const $ = (id) => document.getElementById(id);

/** Creates an element with properties and children; text is never parsed as markup. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

export const number = (value) => new Intl.NumberFormat().format(value);

export function rate(value) {
  return new Intl.NumberFormat(undefined, { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
}

export function octets(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${new Intl.NumberFormat(undefined, { maximumFractionDigits: unit && value < 10 ? 1 : 0 }).format(value)} ${units[unit]}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return `${new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 }).format(value)} ms`;
}

export const time = (at) => new Date(at).toLocaleTimeString();
export const moment = (at) => new Date(at).toLocaleString();

/** Asks for confirmation of a change that cannot be undone; resolves to whether it was given. */
export function confirmed(text, action) {
  const dialog = $("confirm");
  $("confirm-text").textContent = text;
  $("confirm-yes").textContent = action;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
