// One tea for each day of the week.
const teas = await (await fetch("teas.json")).json();
document.querySelector("#tea").textContent = teas[new Date().getDay()];
