// A session ends while the page is open: by time, by a sign-out in another tab, by an administrator. What is sent then
// is refused, and the page goes to where one signs in; what was typed is kept, and the way back leads here again.
(() => {
  const fetchAsEver = window.fetch;
  const REFUSED = 401;
  window.fetch = async (resource, options) => {
    const answer = await fetchAsEver(resource, options);
    const url = new URL(resource.url ?? String(resource), document.baseURI);
    if (answer.status === REFUSED && url.origin === window.location.origin) {
      const here = window.location.pathname + window.location.search;
      window.location.assign(`/login?next=${encodeURIComponent(here)}`);
      return new Promise(() => {}); // the page is being left: no error has to be shown any more
    }
    return answer;
  };
})();
