// While the database is away the server answers 503, and has done nothing of what it was asked. So what the page sends
// is sent again when the database is back, in the order of the clicks, and the person is told meanwhile. What is sent
// twice with the same words, because somebody pressed Enter again, is sent once.
(() => {
  const fetchAsEver = window.fetch;
  const AWAY = 503, WORK = /\/gradio_api\/(queue\/|app_id$)/, CALL = /\/gradio_api\/queue\/join$/;
  const SENTENCE = "The database is away. What you have sent is kept here, and stored as soon as it is back.";
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const isBack = () => fetchAsEver(new URL("readyz", document.baseURI)).then((answer) => answer.ok, () => false);
  const held = new Set();
  let back = null;
  let turn = Promise.resolve();
  const wait = async () => {
    const said = document.createElement("p");
    said.id = "cf-away";
    said.setAttribute("role", "alert");
    document.body.append(said);
    said.textContent = SENTENCE; // what is put into an alert is read out, not what is there from the start
    do await pause(1000); while (!(await isBack()));
    said.remove();
    back = null;
  };
  const again = async (resource, options) => {
    await (back ??= wait());
    const mine = turn.then(() => fetchAsEver(resource, options));
    turn = mine.catch(() => {});
    return mine;
  };
  window.fetch = async (resource, options) => {
    const answer = await fetchAsEver(resource, options);
    const url = new URL(resource.url ?? String(resource), document.baseURI);
    const ours = url.origin === window.location.origin && WORK.test(url.pathname) && !(resource instanceof Request);
    if (answer.status !== AWAY || !ours) return answer;
    const call = CALL.test(url.pathname) && options?.body;
    if (call && held.has(call)) return new Promise(() => {});
    held.add(call);
    try {
      let repeated = answer;
      while (repeated.status === AWAY) repeated = await again(resource, options);
      return repeated;
    } finally {
      held.delete(call);
    }
  };
})();
