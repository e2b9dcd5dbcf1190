// Address and history. The URL names the conversation, so that a reload, a link and a reconnect restore it. A click that
// opens a conversation or begins a new one adds an entry to the history; Back and Forward walk through them.
(() => {
  const address = () => new URL(window.location.href).searchParams.get("conversation") ?? "";
  let shown = address(); // conversation on the screen
  let visits = 0; // number of the last step in the history
  let isVisiting = false; // until the step is answered, the URL is ahead of the screen
  const write = (method, conversation) => {
    if (address() === conversation) return;
    const url = new URL(window.location.href);
    if (conversation) url.searchParams.set("conversation", conversation);
    else url.searchParams.delete("conversation");
    history[method](null, "", url);
  };
  // Each value is a number or id, so that it changes each time, a blank, and the conversation or "".
  const read = (value) => [value.slice(0, value.indexOf(" ")), value.slice(value.indexOf(" ") + 1)];

  // In this order: a conversation that a click has opened is in the URL when `address` is told.
  const { on, send } = chatfeedback.bridge;
  on("opened", (value) => {
    isVisiting = false;
    write("pushState", read(value)[1]);
  });
  on("visited", (value) => {
    const [number, conversation] = read(value);
    if (Number(number) !== visits) return; // a later step is on its way
    isVisiting = false;
    write("replaceState", conversation); // it differs if the conversation cannot be shown
  });
  on("address", (conversation) => {
    shown = conversation;
    if (!isVisiting) write("replaceState", conversation);
  });
  window.addEventListener("popstate", () => {
    if (!isVisiting && address() === shown) return; // a link within the page
    isVisiting = true;
    visits += 1;
    send("visit", { conversation: address(), number: visits });
  });
  Object.assign(window.chatfeedback, { navigation: { shown: () => shown } });
})();
