// app.js: theme, copy, dialogs, guarded buttons, busy forms, toasts. No framework; htmx does the rest. Works with a strict CSP.
(() => {
  const root = document.documentElement;
  const store = {
    get: key => { try { return localStorage.getItem(key) } catch { return null } },
    set: (key, value) => { try { localStorage.setItem(key, value) } catch { /* storage is off */ } },
  };

  const setTheme = theme => {
    if (theme === "auto") root.removeAttribute("data-theme"); else root.dataset.theme = theme;
    document.querySelectorAll("[data-set-theme]").forEach(b => b.setAttribute("aria-pressed", b.dataset.setTheme === theme));
    document.dispatchEvent(new Event("themechange"));
  };
  setTheme(store.get("theme") || "auto");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));

  const fade = toast => setTimeout(() => toast.remove(), 6000);
  window.toast = (title, text = "") => {
    const box = document.querySelector(".toasts"), template = document.getElementById("toast-tpl");
    if (!box || !template) return;
    const toast = template.content.firstElementChild.cloneNode(true);
    toast.querySelector("b").textContent = title;
    toast.querySelector("p").textContent = text;
    box.append(toast);
    fade(toast);
  };
  document.querySelectorAll(".toast:not(.toast--bad)").forEach(fade);

  const copied = button => {
    const use = button.querySelector("use"), was = use?.getAttribute("href");
    button.classList.add("done");
    use?.setAttribute("href", "#i-check");
    document.getElementById("say")?.replaceChildren("Copied");
    setTimeout(() => { button.classList.remove("done"); use?.setAttribute("href", was) }, 1600);
  };
  // Where the clipboard is out of reach (plain http, no permission) the text is selected, ready for Ctrl+C.
  const select = button => {
    const text = button.parentElement?.querySelector("code, pre");
    if (text) getSelection().selectAllChildren(text);
    document.getElementById("say")?.replaceChildren("Selected; copy it with Ctrl+C");
  };
  const copy = async button => {
    try { await navigator.clipboard.writeText(button.dataset.copy); copied(button) } catch { select(button) }
  };

  document.addEventListener("click", event => {
    const b = event.target.closest("[data-copy],[data-open],[data-close],[data-set-theme],[data-print]");
    // A click on the backdrop closes; a secret that is shown once stays until it is put away.
    if (!b) { if (event.target.matches?.("dialog:not([data-hold])")) event.target.close(); return }
    if (b.dataset.setTheme) { store.set("theme", b.dataset.setTheme); setTheme(b.dataset.setTheme) }
    if ("close" in b.dataset) { if (b.tagName === "A") event.preventDefault(); b.closest("dialog")?.close() }
    const dialog = b.dataset.open && document.getElementById(b.dataset.open);
    if (dialog) { event.preventDefault(); dialog.showModal() }
    if (b.dataset.copy) copy(b);
    if ("print" in b.dataset) print();
  });
  document.addEventListener("cancel", event => { if (event.target.matches?.("dialog[data-hold]")) event.preventDefault() }, true);
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") document.querySelectorAll("details.menu[open]").forEach(menu => { menu.open = false; menu.querySelector("summary").focus() });
    if (event.key === "Escape" && document.querySelector("dialog[data-hold][open]")) event.preventDefault();
  });

  // A guarded button stays off until the word is typed or the box ticked (data-guard="id").
  const guard = button => {
    const field = document.getElementById(button.dataset.guard);
    if (!field) return;
    const off = field.type === "checkbox" ? !field.checked : field.value.trim() !== field.dataset.word;
    if (button.tagName === "A") button.setAttribute("aria-disabled", off); else button.disabled = off;
  };
  const guards = scope => scope.querySelectorAll("[data-guard]").forEach(guard);
  document.addEventListener("input", event => {
    if (event.target.id) document.querySelectorAll(`[data-guard="${CSS.escape(event.target.id)}"]`).forEach(guard);
  });
  document.addEventListener("click", event => {
    if (event.target.closest("a[aria-disabled=true]")) event.preventDefault();
  });

  // A form is sent once: its button turns busy, a second submit is dropped until the page comes back.
  document.addEventListener("submit", event => {
    const form = event.target, button = event.submitter;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) { event.preventDefault(); return }
    form.dataset.sent = "1";
    button?.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () => {
    document.querySelectorAll("form[data-sent]").forEach(form => delete form.dataset.sent);
    document.querySelectorAll("form [aria-busy]").forEach(button => button.removeAttribute("aria-busy"));
    guards(document);
  });

  // An amount of one's own belongs to the choice "Other": whoever leaves that choice leaves the amount too.
  document.addEventListener("change", event => {
    const { name, value, form } = event.target;
    if (name === "choice" && value !== "other" && form?.elements.other) form.elements.other.value = "";
  });

  // A saved card is charged by one click, so the line above the button says how much.
  const tell = form => {
    const line = form.querySelector("[data-charge]"), given = new FormData(form), card = form.querySelector("[name=pay_with]:checked");
    const chosen = form.querySelector("[name=choice]:checked");
    const amount = given.get("choice") === "other" ? given.get("other") : chosen?.closest("label").textContent;
    line.hidden = !amount || !card || card.value === "new";
    line.textContent = line.hidden ? "" : `${line.dataset.charge} ${card.closest("label").textContent.split(",")[0].trim()}: ${amount.trim()} ${(given.get("currency") || "").toUpperCase()}`;
  };
  document.querySelectorAll("[data-charge]").forEach(line => {
    const form = line.closest("form");
    tell(form);
    form.addEventListener("input", () => tell(form));
    form.addEventListener("change", () => tell(form));
  });

  // What refreshes by itself keeps the keyboard's place: the same link or button has the focus again.
  let place = null;
  document.addEventListener("htmx:beforeSwap", event => {
    const at = document.activeElement;
    place = at && at !== document.body && event.detail.target.contains(at) ? at : null;
  });
  document.addEventListener("htmx:afterSettle", () => {
    const was = place;
    place = null;
    if (!was || was.isConnected || document.activeElement !== document.body) return;
    const same = other => ["href", "data-copy", "name", "value"].every(name => other.getAttribute(name) === was.getAttribute(name));
    [...document.querySelectorAll(was.tagName)].find(same)?.focus({ preventScroll: true });
  });

  const ready = scope => {
    guards(scope);
    // Sent open by the server, so that it is seen without scripts too; with them it becomes modal.
    scope.querySelectorAll("dialog[data-show]").forEach(dialog => { dialog.removeAttribute("data-show"); dialog.close(); dialog.showModal() });
    scope.querySelectorAll("select[data-submit]").forEach(select => select.addEventListener("change", () => select.form.requestSubmit()));
  };
  ready(document);
  document.addEventListener("htmx:load", event => ready(event.target));
})();
