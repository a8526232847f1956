// Shows the departures of today that are still to come, at most three.
const SHOWN = 3;

function clock(date) {
  return date.toTimeString().slice(0, 5);
}

async function show() {
  const timetable = await (await fetch("timetable.json")).json();
  const now = clock(new Date());
  const next = timetable["Old Town"].filter((departure) => departure > now).slice(0, SHOWN);
  document.querySelector("#departures").replaceChildren(...next.map(listItem));
}

function listItem(departure) {
  const item = document.createElement("li");
  item.textContent = departure;
  return item;
}

show();
