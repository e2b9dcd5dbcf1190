// Transport: the only wrapper of `window.fetch`, and the only script that depends on Gradio's protocol and elements.
//
// Requests pass through five layers (middleware), in a fixed order: unsaved feedback (unsaved.js), the size of calls
// (limits.js), the event stream (below), the session (session.js), the outage of the database (outage.js). A layer is a
// function of a resource, its options and the next layer, and returns a promise of the response, as fetch does.
//
// Event stream: Gradio 6.31 sends all responses to a page over one stream of server-sent events.
//
// The server ends the stream when no event is left to answer, with a `close_stream` message; the page opens another one
// with its next call. This layer repairs three faults in between:
// - The page aborts the ending stream. A server that has not quite ended it takes that for a closed page, and drops the
//   calls that the page has sent meanwhile. So the stream is read to its end.
// - A call at that moment would get its response only after another call, because the page assumes that it has a
//   stream. So another call is sent (`wake`).
// - If the response went out over the ending stream, the page still opens another stream, which would stay open with
//   nothing to send. So it gets a stream that ends at once. A server that has dropped the page answers 404, which the
//   page would take for a lost connection and reload: it gets the same stream.
//
// It also repairs three faults of an open stream:
// - When the stream breaks, the page reports an error for all waiting events, and then assumes for ever that it has a
//   stream. When the stream ends without `close_stream`, it does not even report. The next call would never be answered.
//   So such a stream gets a `broken_connection` and a `close_stream` message.
// - An event that has sent updates repeats the last one at its end. A busy page renders the repetition when something
//   else is there already, such as the start of the next reply. So the repetition is removed.
// - The page itself shows a click on a thumb. A late update after an earlier click would take it back, and a third click
//   would not mean what the person saw. So that update is removed too.
(() => {
  const LAYERS = ["unsaved", "limits", "stream", "session", "outage"]; // from the page to the network
  const network = window.fetch.bind(window);
  const layers = new Map();
  const through = (index) => (resource, options) => {
    const name = LAYERS[index];
    if (name === undefined) return network(resource, options);
    const next = through(index + 1);
    return layers.has(name) ? layers.get(name)(resource, options, next) : next(resource, options);
  };
  window.fetch = through(0);
  const use = (name, layer) => {
    if (!LAYERS.includes(name)) throw new Error(`The transport has no layer ${name}.`);
    layers.set(name, layer);
  };

  const JOIN = /\/gradio_api\/queue\/join$/, DATA = /\/gradio_api\/queue\/data$/;
  const WORK = /\/gradio_api\/(queue\/|app_id$)/; // Gradio polls `app_id` until a lost server is back
  const HEARTBEAT = /\/gradio_api\/heartbeat\//;
  const url = (resource) => new URL(resource.url ?? String(resource), document.baseURI);
  const isOwn = (resource) => url(resource).origin === window.location.origin;
  const isCall = (resource) => isOwn(resource) && JOIN.test(url(resource).pathname);
  const isWork = (resource) => isOwn(resource) && WORK.test(url(resource).pathname);
  const isHeartbeat = (resource) => isOwn(resource) && HEARTBEAT.test(url(resource).pathname);
  // Parse a call: the `elem_id` of its trigger component or the message of the bridge, the name of its event, its inputs
  // and its event data.
  const readCall = (options) => {
    const { fn_index: index, trigger_id: trigger, data, event_data: event } = JSON.parse(options?.body || "{}");
    const component = window.gradio_config?.components.find(({ id }) => id === trigger);
    const handler = window.gradio_config?.dependencies.find(({ id }) => id === index);
    const [, name] = handler?.targets.find(([id]) => id === trigger) ?? [];
    return { source: event?.message ?? component?.props.elem_id, name, data, event };
  };
  // Elements of Gradio's components: the only selectors of its class names and test ids. Never by label: Gradio
  // translates its labels into the language of the browser.
  const one = (selector) => document.querySelector(selector);
  const isAfter = (element) => (other) => element.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;
  const gradio = {
    promptBox: () => one("#prompt textarea"),
    promptButton: (name) => one(`#prompt [data-testid="${name}-button"], #prompt .${name}-button`),
    rows: (chatbot = "#chatbot") => [...document.querySelectorAll(`${chatbot} .message-row`)],
    rowOf: (element) => element?.closest(".message-row"),
    contentOf: (row) => row.querySelector(".message-content"),
    bubbleOf: (element) => element.closest("[data-testid]"),
    replies: () => document.querySelectorAll('#chatbot [data-testid="bot"]'),
    isReply: (element) => Boolean(element.matches?.('#chatbot [data-testid="bot"]')),
    scrollBox: () => one("#chatbot .bubble-wrap"),
    editBox: () => one("#chatbot textarea.edit-textarea"),
    // The buttons of a message follow it; while it is edited they are Submit and Cancel.
    editButtons: () => {
      const box = gradio.editBox();
      return [...document.querySelectorAll("#chatbot .message-buttons")].find((row) => box && isAfter(box)(row));
    },
    submitButton: () => gradio.editButtons()?.querySelector("button:first-of-type"),
    cancelButton: () => gradio.editButtons()?.querySelector("button:last-of-type"),
    commentBox: () => one("#feedback-comment textarea"),
    panelTarget: () => one("#feedback-about :is(textarea, input)")?.value,
    isReason: (element) => Boolean(element.matches?.("#feedback-reasons input")),
    sidebarButton: () => one("#sidebar.open .toggle-button"),
    hasError: () => one('[data-testid="status-tracker"] .error') !== null,
  };
  // Return the options of a call that changes nothing, in place of another one: Gradio gets an answer to that one.
  const withoutEffect = (options) => {
    const { components, dependencies } = window.gradio_config;
    const bridge = components.find(({ props }) => props.elem_id === "bridge").id;
    const isWake = ({ targets }) => targets.some(([id, name]) => id === bridge && name === "click");
    const wake = { fn_index: dependencies.find(isWake).id, trigger_id: bridge, data: [], event_data: null };
    return { ...options, body: JSON.stringify({ ...JSON.parse(options.body), ...wake }) };
  };
  window.chatfeedback = {
    gradio,
    transport: { use, network, isOwn, isCall, isWork, isHeartbeat, readCall, withoutEffect },
  };

  const wake = () => chatfeedback.bridge.send("wake");
  const MAX_END_MS = 5000; // milliseconds that the server may take to end a stream after `close_stream`
  const END = 'data: {"msg": "close_stream"}\n\n';
  const BROKEN = 'data: {"msg": "broken_connection", "message": "Connection errored out."}\n\n';
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const saying = (messages) => new Response(messages, { headers: { "Content-Type": "text/event-stream" } });
  const NO_CHANGE = { __type__: "update" };
  const mostOutputs = () => Math.max(...window.gradio_config.dependencies.map(({ outputs }) => outputs.length));
  const begun = new Set(); // events that have sent an update and may send more
  const clicked = new Map(); // number of the click, by event of a click on a thumb
  const waiting = new Set(); // events without a response so far; some never get one
  const answered = new Set(); // events whose response came before that of their queue/join request
  const failed = new Set(); // events whose handler failed, by the warning of the server
  let clicks = 0;
  let woken = -Infinity;

  const isLate = (told) => {
    const click = clicked.get(told.event_id);
    clicked.delete(told.event_id);
    return click < clicks && told.output.data.some((part) => part?.feedback_value);
  };

  const toDraw = (message) => {
    if (!message.startsWith("data: ")) return message;
    const told = JSON.parse(message.slice("data: ".length));
    if (told.msg === "process_completed" && !waiting.delete(told.event_id)) answered.add(told.event_id);
    if (told.msg === "log" && told.level === "warning") failed.add(told.event_id); // ui/gradio_internals.py
    if (told.msg === "process_completed") {
      chatfeedback.unsaved.answered(told.event_id, failed.delete(told.event_id) || !told.success);
    }
    if (told.msg === "process_generating") begun.add(told.event_id);
    if (told.msg !== "process_completed" || !told.success) return message;
    // A call without effect has no outputs. In place of another call it changes none of the outputs of that one.
    const isEmpty = told.output.data.length === 0;
    if (!begun.delete(told.event_id) && !isLate(told) && !isEmpty) return message;
    const outputs = isEmpty ? mostOutputs() : told.output.data.length;
    told.output.data = Array(outputs).fill(NO_CHANGE);
    return `data: ${JSON.stringify(told)}`;
  };

  // Split the stream into messages, each ended by an empty line; append `close_stream` if the server did not send it.
  const messages = (read) => {
    let rest = "";
    let saidEnd = false;
    return new ReadableStream({
      async pull(page) {
        const piece = await read.read().catch(() => ({ done: true }));
        if (piece.done) {
          if (!saidEnd) {
            await pause(50); // the page handles received messages in its next task: answered events are not broken
            chatfeedback.unsaved.broken();
            page.enqueue(BROKEN + END);
          }
          page.close();
          return;
        }
        const whole = (rest + piece.value).split("\n\n");
        rest = whole.pop();
        saidEnd ||= whole.some((message) => /"msg": ?"close_stream"/.test(message));
        page.enqueue(whole.map((message) => `${toDraw(message)}\n\n`).join(""));
      },
    });
  };

  // Detach the response from its connection, so that the page does not abort it when it stops reading.
  const apart = (answer, left, connection) => {
    const reader = messages(answer.body.pipeThrough(new TextDecoderStream()).getReader()).getReader();
    const body = new ReadableStream({
      async start(page) {
        let here = true;
        const leave = () => {
          here = false;
          page.close();
          setTimeout(() => connection.abort(), MAX_END_MS);
        };
        left?.addEventListener("abort", leave, { once: true });
        if (left?.aborted) leave();
        for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
          if (here) page.enqueue(piece.value);
        }
        if (here) page.close();
        left?.removeEventListener("abort", leave);
      },
    });
    return new Response(body.pipeThrough(new TextEncoderStream()), { status: answer.status, headers: answer.headers });
  };

  const open = async (resource, options, next) => {
    const connection = new AbortController();
    const left = options?.signal ?? resource.signal;
    const before = new Set(waiting);
    left?.addEventListener("abort", () => {
      if ([...waiting].some((event) => !before.has(event))) wake();
    });
    if (!waiting.size) return saying(END);
    const answer = await next(resource, { ...options, signal: connection.signal }).catch(() => null);
    if (answer?.ok) return apart(answer, left, connection);
    if (answer?.status !== 404) {
      chatfeedback.unsaved.broken();
      return saying(BROKEN + END);
    }
    if (performance.now() - woken > 1000) {
      woken = performance.now();
      setTimeout(wake, 50); // for calls that may still wait for a response
    }
    return saying(END);
  };

  // Record the event before the page gets the response, because the page may then open a stream.
  const join = async (resource, options, next) => {
    const { name, event: clickEvent } = readCall(options);
    const isClick = clickEvent?.liked !== undefined;
    const click = isClick ? ++clicks : 0;
    if (name === "undo") chatfeedback.draft.undo();
    const answer = await next(resource, options);
    const { event_id: event } = await answer.clone().json().catch(() => ({}));
    if (event && isClick) clicked.set(event, click);
    if (event && !answered.delete(event)) waiting.add(event);
    return answer;
  };

  use("stream", (resource, options, next) => {
    if (isOwn(resource) && DATA.test(url(resource).pathname)) return open(resource, options, next);
    if (isCall(resource)) return join(resource, options, next);
    return next(resource, options);
  });
})();
