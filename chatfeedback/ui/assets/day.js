// A field for a day: its value is that of the component.
element.addEventListener("change", (event) => {
  props.value = event.target.value;
  trigger("input");
});
