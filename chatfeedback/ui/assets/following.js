// Polling for changes by another tab, browser or replica. A visible page asks for the version of its conversation every
// few seconds and requests a render if that is newer than the rendered version. Updates from the page's own actions
// carry the new version. There is no polling while a reply streams, a message is edited, or feedback is in flight.
(() => {
  const EVERY = 3000, LONGEST = 60_000; // milliseconds; each failure doubles the pause (backoff)
  let now = ""; // rendered conversation and version, separated by a blank
  let pause = EVERY;
  let timer = 0;
  let asking = false;
  const { editBox, promptButton } = chatfeedback.gradio;
  const isBusy = () => Boolean(chatfeedback.unsaved.isBusy() || editBox() || promptButton("stop"));

  const look = async () => {
    const [conversation] = now.split(" ");
    const address = new URL(`conversations/${conversation}/version`, document.baseURI);
    const answer = await window.fetch(address).catch(() => null);
    pause = answer?.ok ? EVERY : Math.min(2 * pause, LONGEST);
    if (!answer?.ok) return;
    const stored = await answer.json();
    const [open, painted] = now.split(" ");
    if (open !== conversation || stored.version <= Number(painted) || isBusy()) return;
    chatfeedback.bridge.send("newer_version");
  };
  const ask = async () => {
    clearTimeout(timer);
    if (asking) return;
    asking = true;
    if (now && document.visibilityState === "visible" && !isBusy()) await look();
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
  chatfeedback.bridge.on("version", (version) => { now = version; });
})();
