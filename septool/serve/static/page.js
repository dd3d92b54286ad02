"use strict";
// Sends recordings, asks how far they are, and plays the recording and its voices on one time axis.

const POLL_MS = 400, SLOW_POLL_MS = 30000, SEEK_SECONDS = 5, KEPT = "septool-jobs";
// Of the recording, then of its voices: [hue, saturation] of what its spectrogram is drawn in.
const HUES = [[258, 45], [172, 75], [26, 90], [330, 75], [210, 85], [90, 60], [50, 85], [0, 70]];
const dark = matchMedia("(prefers-color-scheme: dark)");
const byId = (id) => document.getElementById(id);
const cards = new Set();

function clockTime(seconds) {
  const whole = Math.floor(Math.max(seconds, 0)), minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  const tail = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

function megabytes(bytes) {
  return bytes < 1e5 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function hueOf(number) {
  return HUES[number ? 1 + (number - 1) % (HUES.length - 1) : 0];
}

function keptJobs() {
  try { return JSON.parse(sessionStorage.getItem(KEPT)) || []; } catch { return []; }
}

function keepJobs(change) {
  try { sessionStorage.setItem(KEPT, JSON.stringify(change(keptJobs()))); } catch { /* a browser that keeps nothing */ }
}

// From the colour of silence to that of what is loud, for levels of 0 to 255.
function palette([hue, saturation]) {
  const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const ramp = scratch.createLinearGradient(0, 0, 256, 0);
  const stops = dark.matches ? [7, 22, 58, 93] : [99, 86, 50, 16];
  [0, 0.35, 0.75, 1].forEach((place, index) => {
    ramp.addColorStop(place, `hsl(${hue} ${index ? saturation : 12}% ${stops[index]}%)`);
  });
  scratch.canvas.width = 256;
  scratch.canvas.height = 1;
  scratch.fillStyle = ramp;
  scratch.fillRect(0, 0, 256, 1);
  return scratch.getImageData(0, 0, 256, 1).data;
}

function drawSpectrogram(canvas, picture, hue) {
  const { rows, columns, levels } = picture, context = canvas.getContext("2d");
  canvas.width = columns;
  canvas.height = rows;
  const image = context.createImageData(columns, rows), colours = palette(hue);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const level = levels.charCodeAt((rows - 1 - row) * columns + column); // the lowest frequency is the first
      const place = 4 * (row * columns + column);
      for (let part = 0; part < 4; part++) image.data[place + part] = colours[4 * level + part];
    }
  }
  context.putImageData(image, 0, 0);
}

// A recording and its voices as one player: all have one length, and one of them is heard at a time.
class Player {
  constructor(root, job) {
    this.root = root;
    this.seconds = job.seconds;
    this.position = root.querySelector(".position");
    this.position.max = job.seconds;
    root.querySelector(".length").textContent = clockTime(job.seconds);
    this.tracks = job.tracks.map((track, number) => this.addTrack(track, number));
    this.selected = this.tracks[0];
    this.select(this.tracks[Math.min(1, this.tracks.length - 1)]);
    root.querySelector(".play").addEventListener("click", () => this.toggle());
    this.position.addEventListener("input", () => this.seek(Number(this.position.value)));
    this.drawRuler();
    this.observer = new ResizeObserver(() => { this.drawRuler(); this.show(); });
    this.observer.observe(root);
    this.repaint = () => this.tracks.forEach((track) => track.paint());
    dark.addEventListener("change", this.repaint);
    this.show();
  }

  get time() { return this.selected.audio.currentTime; }

  addTrack(track, number) {
    const item = byId("track").content.firstElementChild.cloneNode(true);
    const hue = hueOf(number), canvas = item.querySelector("canvas"), audio = new Audio();
    audio.preload = "auto";
    audio.src = track.url;
    item.style.setProperty("--hue", `hsl(${hue[0]} ${hue[1]}% 55%)`);
    item.querySelector(".text").textContent = track.title;
    canvas.setAttribute("aria-label", `Spectrogram of ${track.title}`);
    const save = item.querySelector(".save");
    save.href = `${track.url}?download`;
    save.download = track.file;
    save.title = `Download ${track.file} (${megabytes(track.bytes)})`;
    save.setAttribute("aria-label", save.title);
    const made = { item, audio, canvas, title: track.title, paint: () => {} };
    item.querySelector(".name").addEventListener("click", () => this.select(made));
    canvas.addEventListener("click", (event) => {
      this.select(made);
      this.seek((event.offsetX / canvas.clientWidth) * this.seconds);
      this.play();
    });
    audio.addEventListener("ended", () => { if (this.selected === made) this.pause(); });
    audio.addEventListener("error", () => { item.querySelector(".name").title = "This browser cannot play it"; });
    fetch(track.spectrogram).then((response) => (response.ok ? response.json() : null)).then((picture) => {
      if (!picture) return;
      picture.levels = atob(picture.levels);
      made.paint = () => drawSpectrogram(canvas, picture, hue);
      made.paint();
    });
    this.root.querySelector(".tracks").append(item);
    return made;
  }

  select(track) {
    const playing = this.isPlaying, time = this.time;
    this.selected.audio.pause();
    this.selected = track;
    for (const each of this.tracks) {
      each.item.classList.toggle("selected", each === track);
      each.item.querySelector(".name").setAttribute("aria-pressed", String(each === track));
    }
    track.audio.currentTime = time;
    if (playing) this.play();
  }

  play() {
    for (const card of cards) if (card.player && card.player !== this) card.player.pause();
    if (this.time >= this.seconds - 0.05) this.seek(0);
    this.isPlaying = true;
    this.selected.audio.play().catch(() => this.pause());
    this.root.classList.add("playing");
    this.root.querySelector(".play").setAttribute("aria-label", "Pause");
    requestAnimationFrame(() => this.follow());
  }

  pause() {
    this.isPlaying = false;
    this.selected.audio.pause();
    this.root.classList.remove("playing");
    this.root.querySelector(".play").setAttribute("aria-label", "Play");
    this.show();
  }

  toggle() { if (this.isPlaying) this.pause(); else this.play(); }

  seek(seconds) {
    this.selected.audio.currentTime = Math.min(Math.max(seconds, 0), this.seconds);
    this.show();
  }

  follow() {
    this.show();
    if (this.isPlaying) requestAnimationFrame(() => this.follow());
  }

  show() {
    const canvas = this.selected.canvas, line = this.root.querySelector(".playhead"), time = this.time;
    line.style.left = `${canvas.offsetLeft + (time / this.seconds) * canvas.clientWidth}px`;
    this.position.value = time;
    this.root.querySelector(".time").textContent = clockTime(time);
  }

  drawRuler() {
    const ruler = this.root.querySelector(".ruler"), width = ruler.clientWidth || 600;
    const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
    const step = steps.find((each) => (each / this.seconds) * width >= 56) || 3600;
    ruler.replaceChildren();
    for (let time = 0; time < this.seconds - step / 4; time += step) {
      const mark = document.createElement("span");
      mark.style.left = `${(100 * time) / this.seconds}%`;
      mark.textContent = step < 1 ? time.toFixed(1) : clockTime(time);
      ruler.append(mark);
    }
  }

  close() {
    this.observer.disconnect();
    dark.removeEventListener("change", this.repaint);
    for (const track of this.tracks) {
      track.audio.pause();
      track.audio.removeAttribute("src");
    }
  }
}

// One recording, from being sent until its files are gone.
class Card {
  constructor(name) {
    this.root = byId("job").content.firstElementChild.cloneNode(true);
    this.root.querySelector("h2").textContent = name;
    this.bar = this.root.querySelector("progress");
    this.status = this.root.querySelector(".working p");
    this.root.querySelector(".remove").addEventListener("click", () => this.remove());
    this.root.addEventListener("keydown", (event) => this.onKey(event));
    byId("jobs").prepend(this.root);
    cards.add(this);
  }

  send(file, query) {
    const request = new XMLHttpRequest();
    this.request = request;
    request.open("POST", `/api/jobs?${new URLSearchParams({ name: file.name, ...query })}`);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) => {
      this.progress(event.loaded / event.total, `sending, ${megabytes(event.loaded)} of ${megabytes(event.total)}`);
    });
    request.addEventListener("load", () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* no answer of this server */ }
      if (request.status !== 201) {
        this.fail(answer.error || `the server answered with status ${request.status}`);
        return;
      }
      keepJobs((ids) => [...ids, answer.id]);
      this.take(answer);
    });
    request.addEventListener("error", () => this.fail("the server does not answer; does septool serve still run?"));
    this.progress(0, "sending");
    request.send(file);
  }

  async poll() {
    if (this.closed) return;
    let response;
    try {
      response = await fetch(`/api/jobs/${this.id}`);
    } catch {
      this.status.textContent = "the server does not answer; does septool serve still run?";
      this.timer = setTimeout(() => this.poll(), 5000);
      return;
    }
    if (response.status === 404) {
      this.fail("its files are gone; drop it again to have them");
      keepJobs((ids) => ids.filter((id) => id !== this.id));
      return;
    }
    if (!response.ok) {
      this.fail((await response.json().catch(() => ({}))).error || `the server answered with status ${response.status}`);
      return;
    }
    this.take(await response.json());
  }

  take(job) {
    this.id = job.id;
    this.root.querySelector("h2").textContent = job.name;
    if (job.state === "done") {
      this.finish(job);
    } else if (job.state === "failed") {
      this.fail(job.error);
    } else {
      const part = job.seconds ? job.done_seconds / job.seconds : null;
      const ahead = job.ahead ? `waiting for ${job.ahead} other recording${job.ahead > 1 ? "s" : ""}` : "waiting";
      const far = job.seconds ? `, ${clockTime(job.done_seconds)} of ${clockTime(job.seconds)}` : "";
      this.progress(job.state === "running" ? part : null, job.state === "running" ? `separating${far}` : ahead);
    }
    if (!this.closed && job.state !== "failed") {
      this.timer = setTimeout(() => this.poll(), job.state === "done" ? SLOW_POLL_MS : POLL_MS);
    }
  }

  progress(part, text) {
    if (part === null) this.bar.removeAttribute("value"); else this.bar.value = part;
    this.status.textContent = text;
  }

  finish(job) {
    const minutes = Math.max(Math.round(job.expires_in / 60), 1);
    this.root.querySelector(".fact").textContent = `${clockTime(job.seconds)}, by ${job.model} in ${job.elapsed} s; ` +
      `gone in ${minutes} minute${minutes > 1 ? "s" : ""}`;
    if (this.player) return;
    this.root.querySelector(".working").hidden = true;
    const notes = this.root.querySelector(".notes");
    notes.replaceChildren(...job.notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
    notes.hidden = !job.notes.length;
    const links = [[job.archive, `All voices (.zip, ${megabytes(job.tracks.slice(1).reduce((sum, each) => sum + each.bytes, 0))})`]];
    if (job.activity) links.push([`${job.activity}?download`, "Who speaks when (.rttm)"]);
    this.root.querySelector(".downloads").replaceChildren(...links.map(([href, textContent]) => (
      Object.assign(document.createElement("a"), { href, textContent, download: "" }))));
    const root = this.root.querySelector(".player");
    root.hidden = false;
    this.player = new Player(root, job);
  }

  fail(error) {
    this.stop();
    this.root.querySelector(".working").hidden = true;
    this.root.querySelector(".player").hidden = true;
    this.root.querySelector(".fact").textContent = "";
    const line = this.root.querySelector(".failed");
    line.textContent = error;
    line.hidden = false;
  }

  stop() {
    clearTimeout(this.timer);
    if (this.player) this.player.close();
    this.player = null;
  }

  remove() {
    this.closed = true;
    this.stop();
    if (this.request) this.request.abort();
    if (this.id) {
      keepJobs((ids) => ids.filter((id) => id !== this.id));
      fetch(`/api/jobs/${this.id}`, { method: "DELETE" }).catch(() => {});
    }
    cards.delete(this);
    this.root.remove();
  }

  onKey(event) {
    if (!this.player || event.ctrlKey || event.metaKey || event.altKey) return;
    const number = Number(event.key), onControl = event.target.closest("button, a, input");
    if (event.key === " " && !(onControl && onControl.matches("button, a"))) this.player.toggle();
    else if (event.key === "ArrowRight") this.player.seek(this.player.time + SEEK_SECONDS);
    else if (event.key === "ArrowLeft") this.player.seek(this.player.time - SEEK_SECONDS);
    else if (number >= 1 && number <= this.player.tracks.length) this.player.select(this.player.tracks[number - 1]);
    else return;
    event.preventDefault();
  }
}

function sendAll(files) {
  const drop = byId("drop"), limit = Number(drop.dataset.uploadBytes), refusal = byId("refusal");
  const query = { model: byId("model").value };
  if (byId("speakers").value) query.speakers = byId("speakers").value;
  const large = [...files].filter((file) => file.size > limit);
  refusal.textContent = large.map((file) => `${file.name} has ${megabytes(file.size)}, more than is taken here`).join("; ");
  refusal.hidden = !large.length;
  for (const file of files) if (!large.includes(file)) new Card(file.name).send(file, query);
}

// Conversations take models of two voices.
function offerModels() {
  const conversation = byId("speakers").value !== "", model = byId("model");
  for (const option of model.options) option.disabled = conversation && option.dataset.voices !== "2";
  if (model.selectedOptions[0]?.disabled) model.value = [...model.options].find((option) => !option.disabled)?.value;
}

function start() {
  const drop = byId("drop"), files = byId("files");
  byId("speakers").addEventListener("change", offerModels);
  offerModels();
  drop.addEventListener("click", () => files.click());
  byId("choose").addEventListener("click", (event) => { event.stopPropagation(); files.click(); });
  files.addEventListener("click", (event) => event.stopPropagation());
  files.addEventListener("change", () => { sendAll(files.files); files.value = ""; });
  for (const name of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // a browser would show the file instead
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop") sendAll(event.dataTransfer.files);
    });
  }
  for (const id of keptJobs()) {
    const card = new Card("…");
    card.id = id;
    card.poll();
  }
}

start();
