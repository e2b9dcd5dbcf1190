// Limits on the size of texts and requests, which the server has put into the page. A text that is too long stays in
// its box, a sentence above the prompt says how long it may be, and the server is not asked.
(() => {
  const { gradio } = chatfeedback;
  const { isCall, readCall, use, withoutEffect } = chatfeedback.transport;
  const meta = document.querySelector("meta[name=chatfeedback-limits]");
  const [MAX_CHARS, MAX_REQUEST_BYTES] = meta.content.split(" ").map(Number);
  const REST = 1000; // bytes of a call besides the texts in it
  const MAX_BYTES = MAX_REQUEST_BYTES - REST;
  const TOO_LARGE = 413;
  const REFUSED = "The server does not take this, because it is too large. Shorten it and send again.";
  const NOT_KEPT = "This text is too long to be kept in the browser: it is lost when the page is reloaded or left.";
  const EDIT_NOT_SENT = "This edit is too large to be sent. Press Ctrl+C (on a Mac ⌘C) to copy it, and shorten it.";

  // The server counts code points, JavaScript counts UTF-16 units.
  const charsIn = (text) => text.length - (text.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)?.length ?? 0);
  const bytesIn = (text) => new Blob([JSON.stringify(text)]).size;
  const digits = (number) => number.toLocaleString("en-US");
  // Return how the text exceeds a limit, or null. `more`: bytes of its call besides the text and the rest.
  const excess = (text, more = () => 0) => {
    if (text.length > MAX_CHARS && charsIn(text) > MAX_CHARS) return { size: charsIn(text), most: MAX_CHARS, unit: "characters" };
    if (text.length * 6 + REST <= MAX_REQUEST_BYTES && !more()) return null; // a unit takes 6 bytes at most, as \u0000
    const size = bytesIn(text) + more();
    return size > MAX_BYTES ? { size, most: MAX_BYTES, unit: "bytes" } : null;
  };
  const messageSentence = ({ size, most, unit }) => {
    const allowed = `at most ${digits(most)} are allowed. Shorten it and send again.`;
    return `This message has ${digits(size)} ${unit}; ${allowed}`;
  };
  // An edit is sent with the text before it, and Gradio sends its new text twice.
  const ofEdit = (text, before) => excess(text, () => bytesIn(text) + bytesIn(before));
  const ofBox = (box) => (box === gradio.editBox() ? ofEdit(box.value, box.dataset.opened ?? "") : excess(box.value));
  // Return the sentence about a comment that is too long, or "".
  const comment = (text) => {
    const over = excess(text ?? "");
    return over ? `A comment can have at most ${digits(over.most)} ${over.unit}.` : "";
  };

  // The notice above the prompt, a component of Gradio (`NOTICE_JS`).
  let sentence = "";
  let number = 0;
  const escape = (text) => text.replace(/[&<>"]/g, (character) => `&#${character.codePointAt(0)};`);
  const notice = () => sentence && `<div class="cf-notice" role="alert" data-limit="${++number}">${escape(sentence)}</div>`;
  const say = (text) => {
    sentence = text;
    chatfeedback.bridge.send("notice");
  };
  const isSaid = () => document.querySelector("#notice [data-limit]") !== null;

  // Say it when the text gets too long, and again at each attempt to send it.
  let wasTooLong = false;
  const check = (box) => {
    const over = ofBox(box);
    if (over && !wasTooLong) say(messageSentence(over));
    else if (!over && isSaid()) say("");
    wasTooLong = over !== null;
  };
  const hold = (event, box) => {
    const over = box && ofBox(box);
    if (!over) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    wasTooLong = true;
    say(messageSentence(over));
  };
  document.addEventListener("input", ({ target }) => {
    if (target === gradio.promptBox() || target === gradio.editBox()) check(target);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target === gradio.promptBox()) {
      hold(event, event.target);
    }
  }, true);
  document.addEventListener("click", (event) => {
    if (gradio.promptButton("submit")?.contains(event.target)) hold(event, gradio.promptBox());
    else if (gradio.submitButton()?.contains(event.target)) hold(event, gradio.editBox());
  }, true);

  // The draft in the box could not be stored. A text that is too long has a sentence already.
  const notKept = () => {
    if (!wasTooLong && !isSaid()) say(NOT_KEPT);
  };

  // Calls that are too large for the server, or for a proxy before it, whose limit the page does not know.
  const isTooLarge = (body) => body.length > MAX_REQUEST_BYTES / 3 && new Blob([body]).size > MAX_REQUEST_BYTES;
  const refused = ({ event }) => {
    say(REFUSED);
    const edited = event?.previous_value === undefined ? event?.edit : event.value;
    if (edited) chatfeedback.clipboard.offer(EDIT_NOT_SENT, edited); // its box is closed
    // Gradio shows a click on a thumb and an edit already.
    if (edited || event?.liked !== undefined) chatfeedback.bridge.send("click_refused");
  };
  use("limits", async (resource, options, next) => {
    if (!isCall(resource) || typeof options?.body !== "string") return next(resource, options);
    const answer = isTooLarge(options.body) ? null : await next(resource, options);
    if (answer && answer.status !== TOO_LARGE) return answer;
    const call = readCall(options);
    if (chatfeedback.unsaved.isInPanel(call)) return new Response(REFUSED, { status: TOO_LARGE }); // the panel says it
    refused(call);
    return next(resource, withoutEffect(options)); // an error would cover the page, and lead to a reload
  });
  Object.assign(window.chatfeedback, { limits: { comment, notKept, notice } });
})();
