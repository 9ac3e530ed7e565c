// Moves the bars of the overview while tasks run, and shows the finished page in the end.
const tiles = document.querySelector("[data-progress]");

async function update() {
  const answer = await fetch(tiles.dataset.progress);
  const { kinds, finished } = await answer.json();
  for (const kind of kinds) {
    const tile = tiles.querySelector(`[data-kind="${kind.name}"]`);
    tile.querySelector(".done").textContent = kind.done.toLocaleString("en-GB");
    tile.querySelector("progress").value = kind.done;
    tile.querySelector(".note").textContent = kind.note;
  }
  if (finished) location.reload();
  else setTimeout(update, 500);
}

update();
