// The server has stored a prompt; the value is its id and its text in Base64.
watch("value", () => {
  const bytes = Uint8Array.from(atob(props.value.split(" ")[1] ?? ""), (letter) => letter.charCodeAt(0));
  chatfeedback.draft.sent(new TextDecoder().decode(bytes));
});
