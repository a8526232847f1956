// Shows the departures of today that are still to come from the pier chosen, at most three; the last one stands out.
const SHOWN = 3;
const pier = document.querySelector("#pier");

function clock(date) {
  return date.toTimeString().slice(0, 5);
}

function show(timetable) {
  const departures = timetable[pier.value];
  const now = clock(new Date());
  const next = departures.filter((departure) => departure > now).slice(0, SHOWN);
  const items = next.map((departure) => listItem(departure, departure === departures.at(-1)));
  document.querySelector("#departures").replaceChildren(...items);
}

function listItem(departure, isLast) {
  const item = document.createElement("li");
  item.textContent = departure;
  item.classList.toggle("last", isLast);
  return item;
}

const timetable = await (await fetch("timetable.json")).json();
pier.append(...Object.keys(timetable).map((name) => new Option(name)));
pier.addEventListener("change", () => show(timetable));
show(timetable);
