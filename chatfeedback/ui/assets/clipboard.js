// Copying, also on a page over plain http, where the browser has no `navigator.clipboard`, and where it refuses to
// write. Gradio's buttons call `navigator.clipboard.writeText` too. It resolves only if the text was copied: the button
// then shows a tick. If nothing else works, a dialog offers the text, selected.
(() => {
  const given = navigator.clipboard?.writeText?.bind(navigator.clipboard);
  const PRESS = "The browser does not let this page copy. Press Ctrl+C (on a Mac ⌘C) to copy the selected text.";

  // `execCommand` copies what is selected. It may return true when nothing was copied, so trust its event.
  const copySelected = (text) => {
    const before = document.activeElement;
    const box = Object.assign(document.createElement("textarea"), { value: text, readOnly: true, className: "cf-copied-text" });
    let copied = false;
    const fill = (event) => {
      event.clipboardData.setData("text/plain", text);
      event.preventDefault();
      event.stopPropagation();
      copied = true;
    };
    document.body.append(box);
    box.focus({ preventScroll: true });
    box.select();
    document.addEventListener("copy", fill, { capture: true, once: true });
    try {
      return document.execCommand("copy") && copied;
    } finally {
      document.removeEventListener("copy", fill, { capture: true });
      box.remove();
      before?.focus({ preventScroll: true });
    }
  };

  // Offer a text that could not be copied or sent, in a modal dialog: the browser keeps the focus inside, closes it on
  // Escape, and then returns the focus.
  const offer = (sentence, text) => {
    const dialog = Object.assign(document.createElement("dialog"), { id: "cf-offered" });
    const said = document.createElement("p");
    said.setAttribute("role", "alert");
    const box = Object.assign(document.createElement("textarea"), { value: text, readOnly: true, rows: 6 });
    box.setAttribute("aria-label", "Text to copy");
    const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.append(said, box, close);
    document.body.append(dialog);
    dialog.showModal();
    said.textContent = sentence;
    box.focus();
    box.select();
  };

  const writeText = async (text) => {
    const written = await given?.(text).then(() => true, () => false);
    if (written || copySelected(text)) return undefined;
    offer(PRESS, text);
    return new Promise(() => {}); // never resolves: the button must not say that it copied, nor report an error
  };
  if (navigator.clipboard) navigator.clipboard.writeText = writeText;
  else Object.defineProperty(navigator, "clipboard", { value: { writeText }, configurable: true });
  Object.assign(window.chatfeedback, { clipboard: { offer } });
})();
