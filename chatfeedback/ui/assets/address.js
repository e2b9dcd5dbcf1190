// Keep the conversation id in the URL, so that a reload, a link and a reconnect restore the conversation.
const show = () => {
  const url = new URL(window.location.href);
  if ((url.searchParams.get("conversation") ?? "") === (props.value ?? "")) return;
  if (props.value) url.searchParams.set("conversation", props.value);
  else url.searchParams.delete("conversation");
  history.replaceState(null, "", url);
};
watch("value", show);
