// One tea for each day of the week, and how long it steeps.
const teas = await (await fetch("teas.json")).json();
const tea = teas[new Date().getDay()];
document.querySelector("#tea").textContent = tea.name;
document.querySelector("#minutes").textContent = tea.minutes;
