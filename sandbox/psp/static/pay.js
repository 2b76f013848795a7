// Sandbox Pay: fills in test cards, groups digits, and lets Pay be pressed once.
"use strict";
const number = document.getElementById("number");
const expiry = document.getElementById("expiry");
const cvc = document.getElementById("cvc");

for (const button of document.querySelectorAll("[data-card]")) {
  button.addEventListener("click", () => {
    number.value = button.dataset.card;
    expiry.value = "12 / 34";
    cvc.value = "123";
    document.getElementById("pay").focus();
  });
}

number?.addEventListener("input", () => {
  if (number.selectionStart !== number.value.length) return;
  number.value = number.value.replace(/\D/g, "").slice(0, 19).replace(/(\d{4})(?=\d)/g, "$1 ");
});
expiry?.addEventListener("input", (event) => {
  if (event.inputType?.startsWith("delete")) return;
  const digits = expiry.value.replace(/\D/g, "").slice(0, 4);
  expiry.value = digits.length > 1 ? `${digits.slice(0, 2)} / ${digits.slice(2)}` : digits;
});

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = "1";
    event.submitter?.setAttribute("aria-busy", "true");
  });
}
addEventListener("pageshow", () => {
  for (const form of document.forms) {
    delete form.dataset.sent;
    form.querySelector("[aria-busy]")?.removeAttribute("aria-busy");
  }
});
