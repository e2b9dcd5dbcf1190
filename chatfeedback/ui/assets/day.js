// Date input: its value is the value of the component. A date that is not complete has no value; it must not count as no
// date, which would leave the filter open.
element.addEventListener("change", (event) => {
  props.value = event.target.validity.badInput ? "incomplete" : event.target.value;
  trigger("input");
});
