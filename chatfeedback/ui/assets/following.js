// Another tab, browser or replica may change the conversation on the screen. The page asks for its version every few
// seconds while it can be seen, and has itself painted again when that is newer than what it shows. What it does itself
// comes with the new version. Nothing is asked while a reply is written, which is followed anyway, or a message is
// edited, or feedback is on its way.
(() => {
  const EVERY = 3000, LONGEST = 60_000; // milliseconds; each failure doubles the pause
  const BUSY = "#chatbot textarea.edit-textarea, #prompt .stop-button, #prompt [data-testid='stop-button']";
  let now = ""; // the conversation and the version that are painted
  let send = null;
  let pause = EVERY;
  let timer = 0;
  let asking = false;
  const isBusy = () => chatfeedback.unsaved.isBusy() || document.querySelector(BUSY) !== null;

  const look = async () => {
    const [conversation] = now.split(" ");
    const address = new URL(`conversations/${conversation}/version`, document.baseURI);
    const answer = await window.fetch(address).catch(() => null);
    pause = answer?.ok ? EVERY : Math.min(2 * pause, LONGEST);
    if (!answer?.ok) return;
    const stored = await answer.json();
    const [open, painted] = now.split(" ");
    if (open !== conversation || stored.version <= Number(painted) || isBusy()) return;
    send({ newer: true });
  };
  const ask = async () => {
    clearTimeout(timer);
    if (asking) return;
    asking = true;
    if (now && send && document.visibilityState === "visible" && !isBusy()) await look();
    asking = false;
    timer = setTimeout(ask, pause);
  };
  const askAtOnce = () => {
    pause = EVERY;
    ask();
  };
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") askAtOnce();
  });
  window.addEventListener("online", askAtOnce);
  timer = setTimeout(ask, pause);
  const painted = (value) => { now = value ?? ""; };
  const ready = (sender) => { send = sender; };
  Object.assign(window.chatfeedback, { following: { painted, ready } });
})();
