// A person who may not chat starts on the Analytics tab.
watch("value", () => {
  if (element.querySelector("nav[data-begins]")) trigger("click");
});
